dojo drill ack
dojo metrics gateway
dojo status
dojo drill hypothesis saturation_cpu --because "status"
ps -eo pcpu,args --sort=-pcpu | head -8
dojo drill refute saturation_cpu --because "status"
dojo redis --online slowlog get 5
dojo redis --online client list
dojo drill hypothesis slow_dependency --because "redis --online slowlog"
dojo audit list
dojo drill answer --component store_client --mechanism slow_dependency \
  --trigger manual_command --impact degraded
pkill -f scratch/support_dashboard.py
until_quiet "$(paged)"
dojo metrics gateway
sleep 35
dojo metrics gateway
dojo drill resolve
