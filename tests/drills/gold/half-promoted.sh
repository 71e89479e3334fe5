dojo drill ack
dojo status
dojo models
dojo routes show fraud_detection
dojo drill hypothesis bad_model --because "models"
dojo models list
dojo drill refute bad_model --because "routes show"
dojo drill hypothesis pinned_old_version --because "routes show"
dojo audit list
dojo drill answer --component route --mechanism pinned_old_version --trigger manual_command \
  --impact none --scope fraud_detection
dojo models promote fraud_detection@2 --why "its role was moved by hand" --force --yes
until_quiet ChampionWithoutTraffic
dojo routes show fraud_detection
sleep 35
dojo metrics gateway
dojo drill resolve
