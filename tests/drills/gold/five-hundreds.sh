dojo drill ack
dojo metrics gateway
dojo models
dojo status
dojo drill hypothesis bad_model --because "metrics gateway"
dojo models list
dojo logs gateway
dojo drill refute bad_model --because "logs gateway"
dojo drill hypothesis bad_code --because "logs gateway"
dojo audit list
dojo drill answer --component gateway --mechanism bad_code --trigger deploy_code \
  --impact unanswered --scope fraud_detection
rm "$DOJO_HOME/overrides/gateway.yaml"
dojo restart gateway
until_quiet "$(paged)"
dojo metrics gateway
sleep 35
dojo metrics gateway
dojo drill resolve
