dojo drill ack
dojo status
dojo metrics gateway
dojo models
dojo drift show
dojo drill hypothesis real_world_change --because "drift show"
dojo performance
dojo drill refute real_world_change --because "performance"
dojo drill hypothesis bad_data_units --because "drift show"
dojo audit list
dojo drill answer --component caller --mechanism bad_data_units --trigger upstream_change \
  --impact none --scope fraud_detection
dojo drill tell checkout --what bad_data_units --since "$(since flagged_rate)"
until_quiet FlaggedRateShift
dojo metrics gateway
sleep 25
dojo drift show
dojo drill resolve
