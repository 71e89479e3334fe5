dojo drill ack
dojo status
dojo drill hypothesis saturation_storage --because "status"
dojo alerts
dojo logs recorder
dojo drill refute saturation_storage --because "logs recorder"
dojo drill hypothesis lock --because "logs recorder"
dojo audit list
dojo drill answer --component stray_process --mechanism lock --trigger manual_command --impact none
kill -KILL "$(dojo status --json | read_fact holder)"
until_quiet RecorderWaiting
dojo metrics recorder
sleep 25
dojo status
dojo drill resolve
