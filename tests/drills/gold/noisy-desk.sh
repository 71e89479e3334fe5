dojo drill ack
dojo metrics simulator
dojo status
dojo drill hypothesis slow_dependency --because "alerts"
dojo alerts
dojo redis slowlog get 10
dojo drill refute slow_dependency --because "redis slowlog"
ps -eo pcpu,ni,args --sort=-pcpu | head -12
dojo drill hypothesis saturation_cpu --because "status"
dojo audit list
dojo drill answer --component host --mechanism saturation_cpu --trigger manual_command \
  --impact degraded
pkill -f scratch/grid_search.py
until_quiet "$(paged)"
dojo metrics simulator
sleep 35
dojo metrics simulator
dojo drill resolve
