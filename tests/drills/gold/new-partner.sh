dojo drill ack
dojo metrics simulator
dojo models
dojo drill hypothesis bad_code --because "metrics simulator"
dojo logs gateway
dojo drill refute bad_code --because "logs gateway"
dojo drill hypothesis bad_data_fields --because "logs gateway"
dojo audit list
dojo drill answer --component caller --mechanism bad_data_fields --trigger upstream_change \
  --impact unanswered --scope fraud_detection
dojo drill tell partner_integration --what bad_data_fields --since "$(world_time_of_page)"
until_quiet RequestsRefused
dojo metrics gateway
sleep 25
dojo metrics gateway
dojo drill resolve
