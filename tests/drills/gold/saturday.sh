dojo drill ack
dojo metrics gateway
dojo models
dojo redis --online slowlog get 5
dojo drill hypothesis slow_dependency --because "metrics gateway"
dojo drill refute slow_dependency --because "redis --online"
dojo audit list
dojo models list
dojo drill hypothesis slow_model --because "audit list"
dojo drill answer --component model_version --mechanism slow_model --trigger deploy_model \
  --impact degraded --scope fraud_detection
dojo models rollback fraud_detection --why "slow since midnight, the one before was not" --yes
until_quiet "$(paged)"
dojo metrics gateway
sleep 50
dojo metrics gateway
dojo drill resolve
