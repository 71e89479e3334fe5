dojo drill ack
dojo metrics gateway
dojo models
dojo redis --online slowlog get 5
dojo drill hypothesis slow_dependency --because "metrics gateway"
dojo drill refute slow_dependency --because "redis --online"
dojo status
dojo audit list
diff -r models "$DOJO_HOME/releases/gateway-2.14/models" || true
dojo drill hypothesis misconfiguration --because "status"
dojo drill answer --component gateway --mechanism misconfiguration --trigger deploy_config \
  --impact degraded
rm "$DOJO_HOME/overrides/gateway.yaml"
dojo restart gateway
until_quiet "$(paged)"
dojo metrics gateway
sleep 35
dojo metrics gateway
dojo drill resolve
