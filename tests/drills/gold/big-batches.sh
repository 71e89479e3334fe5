dojo drill ack
dojo metrics simulator
dojo models
dojo status
dojo drill hypothesis slow_model --because "metrics simulator"
dojo metrics gateway
dojo drill refute slow_model --because "metrics gateway"
dojo audit list
diff -r models "$DOJO_HOME/releases/gateway-2.14/models" || true
dojo drill hypothesis misconfiguration --because "status"
dojo drill answer --component gateway --mechanism misconfiguration --trigger deploy_config \
  --impact unanswered --scope fraud_detection
rm "$DOJO_HOME/overrides/gateway.yaml"
dojo restart gateway
until_quiet CallersUnanswered
dojo metrics simulator
sleep 35
dojo metrics simulator
dojo drill resolve
