dojo drill ack
dojo metrics gateway
dojo models
dojo status
dojo drill hypothesis slow_dependency --because "status"
dojo redis --online ping
dojo drill refute slow_dependency --because "redis --online"
dojo doctor
ps -eo pid,args | grep scratch/ | grep -v grep
cat "$DOJO_HOME/scratch/store_proxy.conf"
dojo drill hypothesis misconfiguration --because "status"
dojo audit list
dojo drill answer --component network --mechanism misconfiguration --trigger deploy_config \
  --impact degraded
sed -i "s/127.0.0.2/127.0.0.1/" "$DOJO_HOME/scratch/store_proxy.conf"
until_quiet "$(paged)"
sleep 30
dojo metrics gateway
sleep 35
dojo metrics gateway
dojo drill resolve
