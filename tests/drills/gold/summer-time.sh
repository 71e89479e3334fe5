dojo drill ack
dojo status
dojo models
dojo drift show
dojo features catalog
dojo drill hypothesis job_not_running --because "drift show"
dojo drill refute job_not_running --because "features catalog"
dojo drill hypothesis bad_data_time --because "drift show"
dojo audit list
dojo drill answer --component caller --mechanism bad_data_time --trigger upstream_change \
  --impact none --scope fraud_detection
tell checkout --what bad_data_time --since "$(since skew)"
until_quiet TrainingServingSkew
dojo drift show
sleep 35
dojo drift show
dojo drill resolve
