dojo drill ack
dojo metrics gateway
dojo models
dojo drift show
dojo drill hypothesis bad_model --because "drift show"
dojo performance
dojo drill refute bad_model --because "performance"
dojo drill hypothesis real_world_change --because "drift show"
dojo audit list
dojo drill answer --component world --mechanism real_world_change --trigger planned_event \
  --impact none --scope fraud_detection
dojo drill note "the flagged share and the estimated performance are as before, so nothing is done"
dojo performance
sleep 25
dojo drift show
dojo drill resolve
