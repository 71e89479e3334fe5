dojo drill ack
dojo status
dojo models
dojo drift show
dojo features catalog
dojo drill hypothesis job_not_running --because "drift show"
dojo drill refute job_not_running --because "features catalog"
diff -r feature_repo "$DOJO_HOME/releases/gateway-2.14/feature_repo" || true
dojo drill hypothesis bad_code --because "drift show"
dojo audit list
dojo drill answer --component gateway --mechanism bad_code --trigger deploy_code \
  --impact none --scope fraud_detection
rm "$DOJO_HOME/overrides/gateway.yaml"
dojo restart gateway
until_quiet TrainingServingSkew
dojo drift show
sleep 35
dojo drift show
dojo drill resolve
