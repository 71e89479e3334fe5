dojo drill ack
dojo status
dojo metrics simulator
dojo models
dojo drill hypothesis unreachable --because "status"
dojo logs alertmanager
dojo drill refute unreachable --because "status"
dojo drill hypothesis misconfiguration --because "logs alertmanager"
dojo audit list
dojo drill answer --component alerting --mechanism misconfiguration --trigger deploy_config \
  --impact none
sed -i "s/url: https:/url: http:/" "$DOJO_HOME/alertmanager/alertmanager.yml"
pkill -HUP -f "config.file=.*alertmanager.yml"
until_told MaterializationFailing
dojo logs materializer
rm "$(unreadable)"
dojo features materialize
until_quiet Watchdog
dojo metrics receiver
sleep 25
dojo status
dojo drill resolve
