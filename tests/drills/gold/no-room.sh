dojo drill ack
dojo status
dojo models
dojo drill hypothesis job_not_running --because "status"
dojo logs streamer
dojo drill refute job_not_running --because "logs streamer"
dojo redis --online info memory
dojo drill hypothesis saturation_storage --because "redis --online info"
dojo redis --online client list
dojo audit list
dojo drill answer --component online_store --mechanism saturation_storage \
  --trigger manual_command --impact none
pkill -f scratch/support_tool.py
store --scan --pattern "debug:session:*" | xargs -n 500 "$REDIS_CLI" -u "$ONLINE_STORE" unlink
store config set maxmemory 0
dojo features materialize
until_quiet "$(paged)"
dojo features catalog
sleep 50
dojo status
dojo drill resolve
