dojo drill ack
dojo status
dojo drill hypothesis job_not_running --because "status"
dojo alerts
dojo logs materializer
dojo drill refute job_not_running --because "logs materializer"
dojo drill hypothesis corrupt_data --because "logs materializer"
dojo audit list
dojo drill answer --component lake --mechanism corrupt_data --trigger interrupted_copy \
  --impact none
rm "$(unreadable)"
dojo features materialize
until_quiet MaterializationFailing
dojo features catalog
sleep 25
dojo status
dojo drill resolve
