dojo drill ack
dojo metrics gateway
dojo models
dojo features catalog
dojo drill hypothesis eviction --because "metrics gateway"
dojo redis --online info stats
dojo drill refute eviction --because "redis --online"
dojo status
diff -r feature_repo "$DOJO_HOME/releases/streamer-1.9/feature_repo" || true
dojo drill hypothesis bad_code --because "status"
dojo audit list
dojo drill answer --component streamer --mechanism bad_code --trigger deploy_code \
  --impact degraded
rm "$DOJO_HOME/overrides/streamer.yaml"
dojo restart streamer
dojo features materialize --afresh
until_quiet "$(paged)"
dojo metrics gateway
sleep 35
dojo metrics gateway
dojo drill resolve
