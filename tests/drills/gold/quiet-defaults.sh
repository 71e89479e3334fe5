dojo drill ack
dojo status
dojo models
dojo metrics gateway
dojo drill hypothesis alert_muted --because "status"
dojo drill refute alert_muted --because "metrics gateway"
dojo logs gateway
dojo routes show fraud_detection
dojo drill hypothesis lost_data --because "logs gateway"
dojo audit list
dojo models list
dojo drill answer --component registry --mechanism lost_data --trigger scheduled_job \
  --impact fallback --scope fraud_detection
dojo models promote fraud_detection@2 --why "the champion's files are gone" --force --yes
unsilence
until_quiet AlertsSilenced
dojo metrics gateway
sleep 35
dojo models
dojo drill resolve
