dojo drill ack
dojo status
dojo models
dojo drill hypothesis bad_code --because "status"
dojo logs streamer
dojo drill refute bad_code --because "logs streamer"
dojo drill hypothesis saturation_connections --because "logs streamer"
ps -eo pid,args | grep scratch/
dojo audit list
dojo drill answer --component store_client --mechanism saturation_connections \
  --trigger growth --impact none
pkill -f scratch/redis_exporter.py
store config set maxclients 10000
until_quiet "$(paged)"
dojo features catalog
sleep 50
dojo status
dojo drill resolve
