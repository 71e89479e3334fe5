dojo drill ack
dojo metrics simulator
dojo status
dojo alerts
dojo drill hypothesis unreachable --because "alerts"
dojo drill refute unreachable --because "metrics simulator"
dojo runbook CallersUnanswered
dojo drill hypothesis alert_misconfigured --because "runbook CallersUnanswered"
dojo audit list
dojo drill answer --component alert_rule --mechanism alert_misconfigured --trigger deploy_config \
  --impact none
dojo restart prometheus
until_quiet CallersUnanswered
dojo metrics simulator
sleep 25
dojo alerts
dojo drill resolve
