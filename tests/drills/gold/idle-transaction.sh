dojo drill ack
dojo metrics gateway
dojo rollout show fraud_detection
dojo models list
dojo drill hypothesis bad_model --because "rollout show"
dojo drill refute bad_model --because "metrics gateway"
dojo logs rollout
dojo logs mlflow
ps -eo pid,args | grep scratch/ | grep -v grep
dojo drill hypothesis lock --because "logs rollout"
dojo audit list
dojo drill answer --component registry --mechanism lock --trigger manual_command \
  --impact none --scope fraud_detection
pkill -f scratch/mlflow_gc.py
until_quiet RolloutStuck
sleep 20
dojo rollout show fraud_detection
sleep 35
dojo rollout show fraud_detection
dojo drill resolve
