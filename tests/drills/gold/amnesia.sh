dojo drill ack
dojo metrics gateway
dojo models
dojo drift show
dojo drill hypothesis real_world_change --because "drift show"
dojo redis --online info stats
dojo drill refute real_world_change --because "redis --online info"
dojo redis --online config get "maxmemory*"
dojo drill hypothesis eviction --because "redis --online info"
dojo audit list
dojo drill answer --component online_store --mechanism eviction --trigger manual_command \
  --impact degraded
store config set maxmemory-policy noeviction
store config set maxmemory 0
dojo features materialize
until_quiet "$(paged)"
dojo metrics gateway
sleep 50
dojo drift show
dojo drill resolve
