scstadmin -add_target iqn.2016-02.local.virtual:hpms02.vg1 -driver iscsi || 1
#scstadmin -set_tgt_attr iqn.2016-02.local.virtual:hpms02.vg1 -driver iscsi -attributes allowed_portal="192.168.122.98 192.168.152.98"
scstadmin -enable_target iqn.2016-02.local.virtual:hpms02.vg1 -driver iscsi
scstadmin -set_drv_attr iscsi -attributes enabled=1
scstadmin -add_dgrp esos
scstadmin -add_tgrp local -dev_group esos
scstadmin -set_tgrp_attr local -dev_group esos -attributes group_id=2
scstadmin -add_tgrp_tgt iqn.2016-02.local.virtual:hpms02.vg1 -dev_group esos -tgt_group local
scstadmin -set_tgt_attr iqn.2016-02.local.virtual:hpms02.vg1 -driver iscsi -attributes rel_tgt_id=2
scstadmin -add_tgrp remote -dev_group esos
scstadmin -set_tgrp_attr remote -dev_group esos -attributes group_id=1
scstadmin -add_tgrp_tgt iqn.2016-02.local.virtual:hpms01.vg1 -dev_group esos -tgt_group remote
scstadmin -set_ttgt_attr iqn.2016-02.local.virtual:hpms01.vg1 -dev_group esos -tgt_group remote -attributes rel_tgt_id=1
scstadmin -open_dev vg1 -handler vdisk_blockio -attributes filename=/dev/vg1/lun1,write_through=1,nv_cache=0
scstadmin -add_lun 0 -driver iscsi -target iqn.2016-02.local.virtual:hpms02.vg1 -device vg1
scstadmin -add_dgrp_dev vg1 -dev_group esos
