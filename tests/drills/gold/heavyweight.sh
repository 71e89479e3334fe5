dojo drill ack
dojo metrics simulator
dojo status || true
dojo drill hypothesis bad_code --because "status"
dojo logs supervisor
dojo drill refute bad_code --because "logs supervisor"
dojo drill hypothesis out_of_memory --because "status"
dojo audit list
dojo drill answer --component model_version --mechanism out_of_memory --trigger deploy_model \
  --impact unanswered
dojo models rollback fraud_detection --why "the gateway is killed while it loads it" --yes
until_quiet "$(paged)"
dojo metrics simulator
dojo models
sleep 60
dojo status
dojo drill resolve
