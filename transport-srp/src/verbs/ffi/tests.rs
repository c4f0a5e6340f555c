use std::mem::offset_of;
use std::process::Command;

use super::*;
use crate::verbs::umad::{self, Header, Registration};

/// Lines of C that print offsets and sizes, and what they are here.
fn layouts() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    let mut field = |of: &str, name: &str, here: usize| {
        all.push((format!("offsetof(struct {of}, {name})"), here));
    };
    field("ibv_context", "ops.poll_cq", offset_of!(Context, poll_cq));
    field(
        "ibv_context",
        "ops.req_notify_cq",
        offset_of!(Context, req_notify_cq),
    );
    field(
        "ibv_context",
        "ops.post_send",
        offset_of!(Context, post_send),
    );
    field(
        "ibv_context",
        "ops.post_recv",
        offset_of!(Context, post_recv),
    );
    field(
        "ibv_context",
        "ops.post_srq_recv",
        offset_of!(Context, post_srq_recv),
    );
    field("ibv_context", "async_fd", offset_of!(Context, async_fd));
    field("ibv_srq", "context", offset_of!(Srq, context));
    field(
        "ibv_srq_init_attr",
        "attr.max_wr",
        offset_of!(SrqInitAttr, max_wr),
    );
    field(
        "ibv_srq_init_attr",
        "attr.max_sge",
        offset_of!(SrqInitAttr, max_sge),
    );
    field(
        "ibv_srq_init_attr",
        "attr.srq_limit",
        offset_of!(SrqInitAttr, srq_limit),
    );
    field(
        "ibv_device_attr",
        "max_srq",
        offset_of!(DeviceAttr, max_srq),
    );
    field(
        "ibv_device_attr",
        "max_srq_wr",
        offset_of!(DeviceAttr, max_srq_wr),
    );
    field("ibv_context", "device", offset_of!(Context, device));
    field(
        "ibv_device",
        "transport_type",
        offset_of!(Device, transport_type),
    );
    field("ibv_device", "name", offset_of!(Device, name));
    field(
        "ibv_async_event",
        "element",
        offset_of!(AsyncEvent, element),
    );
    field(
        "ibv_async_event",
        "event_type",
        offset_of!(AsyncEvent, event_type),
    );
    field(
        "ibv_device_attr",
        "max_qp_wr",
        offset_of!(DeviceAttr, max_qp_wr),
    );
    field(
        "ibv_device_attr",
        "max_cqe",
        offset_of!(DeviceAttr, max_cqe),
    );
    field("ibv_device_attr", "max_mr", offset_of!(DeviceAttr, max_mr));
    field(
        "ibv_device_attr",
        "max_qp_rd_atom",
        offset_of!(DeviceAttr, max_qp_rd_atom),
    );
    field(
        "ibv_device_attr",
        "max_qp_init_rd_atom",
        offset_of!(DeviceAttr, max_qp_init_rd_atom),
    );
    field("ibv_cq", "context", offset_of!(Cq, context));
    field("ibv_qp", "context", offset_of!(Qp, context));
    field("ibv_comp_channel", "fd", offset_of!(CompChannel, fd));
    field("ibv_mr", "lkey", offset_of!(Mr, lkey));
    field("ibv_sge", "addr", offset_of!(Sge, addr));
    field("ibv_sge", "length", offset_of!(Sge, length));
    field("ibv_sge", "lkey", offset_of!(Sge, lkey));
    field("ibv_send_wr", "wr_id", offset_of!(SendWr, wr_id));
    field("ibv_send_wr", "next", offset_of!(SendWr, next));
    field("ibv_send_wr", "sg_list", offset_of!(SendWr, sg_list));
    field("ibv_send_wr", "num_sge", offset_of!(SendWr, num_sge));
    field("ibv_send_wr", "opcode", offset_of!(SendWr, opcode));
    field("ibv_send_wr", "send_flags", offset_of!(SendWr, send_flags));
    field(
        "ibv_send_wr",
        "wr.rdma.remote_addr",
        offset_of!(SendWr, remote_addr),
    );
    field("ibv_send_wr", "wr.rdma.rkey", offset_of!(SendWr, rkey));
    field("ibv_recv_wr", "sg_list", offset_of!(RecvWr, sg_list));
    field("ibv_recv_wr", "num_sge", offset_of!(RecvWr, num_sge));
    field("ibv_wc", "wr_id", offset_of!(Wc, wr_id));
    field("ibv_wc", "status", offset_of!(Wc, status));
    field("ibv_wc", "byte_len", offset_of!(Wc, byte_len));
    field(
        "ibv_qp_init_attr",
        "send_cq",
        offset_of!(QpInitAttr, send_cq),
    );
    field(
        "ibv_qp_init_attr",
        "recv_cq",
        offset_of!(QpInitAttr, recv_cq),
    );
    field("ibv_qp_init_attr", "srq", offset_of!(QpInitAttr, srq));
    field(
        "ibv_qp_init_attr",
        "cap.max_send_wr",
        offset_of!(QpInitAttr, max_send_wr),
    );
    field(
        "ibv_qp_init_attr",
        "cap.max_inline_data",
        offset_of!(QpInitAttr, max_inline_data),
    );
    field(
        "ibv_qp_init_attr",
        "qp_type",
        offset_of!(QpInitAttr, qp_type),
    );
    field(
        "ibv_qp_init_attr",
        "sq_sig_all",
        offset_of!(QpInitAttr, sq_sig_all),
    );
    field("rdma_event_channel", "fd", offset_of!(EventChannel, fd));
    field("rdma_cm_id", "verbs", offset_of!(CmId, verbs));
    field("rdma_cm_id", "qp", offset_of!(CmId, qp));
    field(
        "rdma_cm_id",
        "route.addr.src_addr",
        offset_of!(CmId, src_addr),
    );
    field(
        "rdma_cm_id",
        "route.addr.dst_addr",
        offset_of!(CmId, dst_addr),
    );
    field(
        "rdma_cm_id",
        "route.addr.addr.ibaddr.sgid",
        offset_of!(CmId, sgid),
    );
    field(
        "rdma_conn_param",
        "private_data_len",
        offset_of!(ConnParam, private_data_len),
    );
    field(
        "rdma_conn_param",
        "responder_resources",
        offset_of!(ConnParam, responder_resources),
    );
    field(
        "rdma_conn_param",
        "initiator_depth",
        offset_of!(ConnParam, initiator_depth),
    );
    field(
        "rdma_conn_param",
        "rnr_retry_count",
        offset_of!(ConnParam, rnr_retry_count),
    );
    field("rdma_conn_param", "qp_num", offset_of!(ConnParam, qp_num));
    field("rdma_cm_event", "id", offset_of!(CmEvent, id));
    field("rdma_cm_event", "event", offset_of!(CmEvent, event));
    field("rdma_cm_event", "status", offset_of!(CmEvent, status));
    field("rdma_cm_event", "param.conn", offset_of!(CmEvent, conn));
    field("sockaddr_ib", "sib_family", offset_of!(SockaddrIb, family));
    field("sockaddr_ib", "sib_pkey", offset_of!(SockaddrIb, pkey));
    field("sockaddr_ib", "sib_addr", offset_of!(SockaddrIb, gid));
    field("sockaddr_ib", "sib_sid", offset_of!(SockaddrIb, service_id));
    field(
        "sockaddr_ib",
        "sib_sid_mask",
        offset_of!(SockaddrIb, service_mask),
    );
    umad_fields(&mut field);
    let mut value = |what: &str, here: usize| all.push((what.to_owned(), here));
    value("sizeof(struct ibv_sge)", size_of::<Sge>());
    value("sizeof(struct ibv_send_wr)", size_of::<SendWr>());
    value("sizeof(struct ibv_recv_wr)", size_of::<RecvWr>());
    value("sizeof(struct ibv_wc)", size_of::<Wc>());
    value("sizeof(struct ibv_qp_init_attr)", size_of::<QpInitAttr>());
    value("sizeof(struct ibv_srq_init_attr)", size_of::<SrqInitAttr>());
    value("sizeof(struct ibv_device_attr)", size_of::<DeviceAttr>());
    value("sizeof(struct rdma_conn_param)", size_of::<ConnParam>());
    value("IBV_WC_SUCCESS", WC_SUCCESS as usize);
    value("IBV_WR_RDMA_WRITE", wr::RDMA_WRITE as usize);
    value("IBV_WR_RDMA_READ", wr::RDMA_READ as usize);
    value("IBV_WR_SEND", wr::SEND as usize);
    value("IBV_SEND_SIGNALED", send_flag::SIGNALED as usize);
    value("IBV_SEND_SOLICITED", send_flag::SOLICITED as usize);
    value("sizeof(struct ibv_async_event)", size_of::<AsyncEvent>());
    value("IBV_EVENT_CQ_ERR", event::CQ_ERR as usize);
    value("IBV_EVENT_QP_FATAL", event::QP_FATAL as usize);
    value("IBV_EVENT_QP_REQ_ERR", event::QP_REQ_ERR as usize);
    value("IBV_EVENT_QP_ACCESS_ERR", event::QP_ACCESS_ERR as usize);
    value("IBV_EVENT_COMM_EST", event::COMM_EST as usize);
    value("IBV_EVENT_PATH_MIG", event::PATH_MIG as usize);
    value("IBV_EVENT_PATH_MIG_ERR", event::PATH_MIG_ERR as usize);
    value("IBV_EVENT_DEVICE_FATAL", event::DEVICE_FATAL as usize);
    value("IBV_EVENT_PORT_ACTIVE", event::PORT_ACTIVE as usize);
    value("IBV_EVENT_PORT_ERR", event::PORT_ERR as usize);
    value("IBV_EVENT_SRQ_ERR", event::SRQ_ERR as usize);
    value(
        "IBV_EVENT_SRQ_LIMIT_REACHED",
        event::SRQ_LIMIT_REACHED as usize,
    );
    value(
        "IBV_EVENT_QP_LAST_WQE_REACHED",
        event::QP_LAST_WQE_REACHED as usize,
    );
    value("IBV_SEND_INLINE", send_flag::INLINE as usize);
    value("IBV_ACCESS_LOCAL_WRITE", access::LOCAL_WRITE as usize);
    value("IBV_ACCESS_REMOTE_WRITE", access::REMOTE_WRITE as usize);
    value("IBV_WC_WR_FLUSH_ERR", WC_WR_FLUSH_ERR as usize);
    value("IBV_TRANSPORT_IWARP", TRANSPORT_IWARP as usize);
    value("IBV_QPT_RC", QPT_RC as usize);
    value("RDMA_PS_TCP", PS_TCP as usize);
    value("RDMA_PS_IB", PS_IB as usize);
    value("sizeof(struct sockaddr_ib)", size_of::<SockaddrIb>());
    value("AF_IB", 27);
    value(
        "RDMA_CM_EVENT_CONNECT_REQUEST",
        cm::CONNECT_REQUEST as usize,
    );
    value("RDMA_CM_EVENT_CONNECT_ERROR", cm::CONNECT_ERROR as usize);
    value("RDMA_CM_EVENT_UNREACHABLE", cm::UNREACHABLE as usize);
    value("RDMA_CM_EVENT_REJECTED", cm::REJECTED as usize);
    value("RDMA_CM_EVENT_ESTABLISHED", cm::ESTABLISHED as usize);
    value("RDMA_CM_EVENT_DISCONNECTED", cm::DISCONNECTED as usize);
    value("RDMA_CM_EVENT_DEVICE_REMOVAL", cm::DEVICE_REMOVAL as usize);
    value("RDMA_CM_EVENT_ADDR_CHANGE", cm::ADDR_CHANGE as usize);
    value("sizeof(struct ib_user_mad_hdr)", size_of::<Header>());
    value(
        "sizeof(struct ib_user_mad_reg_req2)",
        size_of::<Registration>(),
    );
    value("IB_USER_MAD_ENABLE_PKEY", umad::ENABLE_PKEY as usize);
    value(
        "IB_USER_MAD_REGISTER_AGENT2",
        umad::REGISTER_AGENT2 as usize,
    );
    all
}

fn umad_fields(field: &mut impl FnMut(&str, &str, usize)) {
    let of = "ib_user_mad_hdr";
    field(of, "status", offset_of!(Header, status));
    field(of, "timeout_ms", offset_of!(Header, timeout_ms));
    field(of, "retries", offset_of!(Header, retries));
    field(of, "qpn", offset_of!(Header, qpn));
    field(of, "qkey", offset_of!(Header, qkey));
    field(of, "lid", offset_of!(Header, lid));
    field(of, "grh_present", offset_of!(Header, grh_present));
    field(of, "gid", offset_of!(Header, gid));
    field(of, "pkey_index", offset_of!(Header, pkey_index));
    field("ib_user_mad", "data", size_of::<Header>());
    let of = "ib_user_mad_reg_req2";
    field(of, "qpn", offset_of!(Registration, qpn));
    field(of, "mgmt_class", offset_of!(Registration, class));
    field(
        of,
        "mgmt_class_version",
        offset_of!(Registration, class_version),
    );
    field(of, "flags", offset_of!(Registration, flags));
    field(of, "method_mask", offset_of!(Registration, methods));
    field(of, "rmpp_version", offset_of!(Registration, rmpp_version));
}

#[test]
#[ignore = "wants the headers of rdma-core; the stage rdma of test.sh installs and runs it"]
fn layouts_and_constants_are_those_of_the_headers() {
    let layouts = layouts();
    let prints: String = layouts
        .iter()
        .map(|(what, _)| format!("printf(\"%zu\\n\", (size_t)({what}));\n"))
        .collect();
    let source = format!(
        "#include <rdma/rdma_cma.h>\n#include <infiniband/ib.h>\n#include <rdma/ib_user_mad.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{\n{prints}return 0;\n}}\n"
    );
    let folder = std::env::temp_dir().join(format!("lunforge-layouts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (c, program) = (folder.join("layouts.c"), folder.join("layouts"));
    std::fs::write(&c, source).unwrap();
    let compiled = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(&c)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let out = Command::new(&program).output().unwrap().stdout;
    std::fs::remove_dir_all(&folder).unwrap();
    let theirs: Vec<usize> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(theirs.len(), layouts.len());
    for ((what, ours), theirs) in layouts.iter().zip(theirs) {
        assert_eq!(*ours, theirs, "{what}");
    }
}
