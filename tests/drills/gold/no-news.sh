dojo drill ack
dojo models
dojo status
dojo drift show
dojo drill hypothesis lost_data --because "drift show"
dojo dead-letters
dojo metrics recorder
dojo drill refute lost_data --because "metrics recorder"
dojo drill hypothesis missing_labels --because "drift show"
dojo audit list
dojo drill answer --component labels_feed --mechanism missing_labels --trigger upstream_change \
  --impact none --scope fraud_detection
tell chargebacks --what missing_labels --since "$(since labels_missing)"
sleep 60
dojo metrics simulator
sleep 25
dojo drift show
dojo drill resolve
