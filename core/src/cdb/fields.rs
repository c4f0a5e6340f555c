//! From bytes to fields: everything that is not plain medium access, one small function for each family.

use super::decode::{Head, be16, be32, be64};
use super::table::CommandId;
use super::typed::{Cdb, PageControl, PowerCondition};
use crate::sense::Sense;
use crate::units::{BlockCount, Lba};

/// Everything that is not plain medium access.
pub(super) fn decode_fields(id: CommandId, c: &Head) -> Result<Cdb, Sense> {
    use CommandId as Id;
    let len6 = u32::from(c[4]);
    let len10 = u32::from(be16([c[7], c[8]]));
    let len12 = be32([c[6], c[7], c[8], c[9]]);
    Ok(match id {
        Id::TestUnitReady => Cdb::TestUnitReady,
        Id::RequestSense => Cdb::RequestSense {
            desc: c[1] & 0x01 != 0,
            alloc: len6,
        },
        Id::Inquiry => inquiry(c)?,
        Id::ReportLuns => Cdb::ReportLuns {
            select: c[2],
            alloc: len12,
        },
        Id::ModeSense6 | Id::ModeSense10 => mode_sense(id, c),
        Id::ModeSelect6 | Id::ModeSelect10 => {
            let ten = id == Id::ModeSelect10;
            let parameter_list_len = if ten { len10 } else { len6 };
            Cdb::ModeSelect {
                pf: c[1] & 0x10 != 0,
                sp: c[1] & 0x01 != 0,
                parameter_list_len,
                ten,
            }
        }
        Id::LogSense | Id::LogSelect => log(id, c),
        Id::SendDiagnostic | Id::ReceiveDiagnosticResults => diagnostic(id, c),
        Id::ReadBuffer10 | Id::WriteBuffer => buffer(id, c),
        Id::Reserve6 | Id::Reserve10 => Cdb::ReserveUnit,
        Id::Release6 | Id::Release10 => Cdb::ReleaseUnit,
        Id::PrInReadKeys
        | Id::PrInReadReservation
        | Id::PrInReportCapabilities
        | Id::PrInReadFullStatus => Cdb::PersistentReserveIn {
            service_action: c[1] & 0x1F,
            alloc: len10,
        },
        Id::ReportTargetPortGroups => report_target_port_groups(c)?,
        Id::SetTargetPortGroups => Cdb::SetTargetPortGroups {
            parameter_list_len: len12,
        },
        Id::ReportSupportedOperationCodes => Cdb::ReportSupportedOpcodes {
            rctd: c[2] & 0x80 != 0,
            options: c[2] & 0x07,
            opcode: c[3],
            service_action: be16([c[4], c[5]]),
            alloc: len12,
        },
        Id::ReportSupportedTaskManagementFunctions => Cdb::ReportSupportedTmf {
            repd: c[2] & 0x80 != 0,
            alloc: len12,
        },
        Id::ReportIdentifyingInformation => Cdb::ReportIdentifyingInformation {
            kind: c[10] >> 1,
            alloc: len12,
        },
        Id::SetIdentifyingInformation => Cdb::SetIdentifyingInformation {
            kind: c[10] >> 1,
            parameter_list_len: len12,
        },
        Id::ReportTimestamp => Cdb::ReportTimestamp { alloc: len12 },
        Id::SetTimestamp => Cdb::SetTimestamp {
            parameter_list_len: len12,
        },
        _ => decode_device(id, c)?,
    })
}

/// Commands of block devices, third-party copy and PERSISTENT RESERVE OUT.
fn decode_device(id: CommandId, c: &Head) -> Result<Cdb, Sense> {
    use CommandId as Id;
    let len10 = u32::from(be16([c[7], c[8]]));
    let len16 = be32([c[10], c[11], c[12], c[13]]);
    let service_action = c[1] & 0x1F;
    Ok(match id {
        Id::ReadCapacity10 => read_capacity_10(c)?,
        Id::ReadCapacity16 => read_capacity_16(c)?,
        Id::GetLbaStatus => Cdb::GetLbaStatus {
            lba: Lba(be64(c)),
            alloc: len16,
        },
        Id::Unmap => Cdb::Unmap {
            anchor: c[1] & 0x01 != 0,
            parameter_list_len: len10,
        },
        Id::FormatUnit => Cdb::FormatUnit {
            protection: c[1] >> 6,
            long_list: c[1] & 0x20 != 0,
            format_data: c[1] & 0x10 != 0,
            complete_list: c[1] & 0x08 != 0,
            defect_list_format: c[1] & 0x07,
        },
        Id::StartStopUnit => Cdb::StartStopUnit {
            immed: c[1] & 0x01 != 0,
            power_condition: PowerCondition {
                condition: c[4] >> 4,
                modifier: c[3] & 0x0F,
            },
            no_flush: c[4] & 0x04 != 0,
            loej: c[4] & 0x02 != 0,
            start: c[4] & 0x01 != 0,
        },
        Id::PreventAllowMediumRemoval => Cdb::PreventAllow {
            prevent: c[4] & 0x03,
        },
        Id::ReadDefectData10 | Id::ReadDefectData12 => read_defect_data(id, c),
        Id::SanitizeOverwrite
        | Id::SanitizeBlockErase
        | Id::SanitizeCryptographicErase
        | Id::SanitizeExitFailureMode => Cdb::Sanitize {
            service_action,
            immed: c[1] & 0x80 != 0,
            ause: c[1] & 0x20 != 0,
            parameter_list_len: len10,
        },
        Id::ExtendedCopyLid1 | Id::ExtendedCopyLid4 => Cdb::ExtendedCopy {
            service_action,
            parameter_list_len: len16,
        },
        Id::CopyOperationAbort => Cdb::CopyOperationAbort {
            list_id: be32([c[2], c[3], c[4], c[5]]),
        },
        _ if id.entry().opcode == 0x84 => receive_copy_results(c),
        _ if id.entry().opcode == 0x5F => Cdb::PersistentReserveOut {
            service_action,
            scope: c[2] >> 4,
            kind: c[2] & 0x0F,
            parameter_list_len: be32([c[5], c[6], c[7], c[8]]),
        },
        _ => decode_multimedia(id, c),
    })
}

/// Commands of CD and DVD drives (MMC-6).
fn decode_multimedia(id: CommandId, c: &Head) -> Cdb {
    use CommandId as Id;
    let alloc = u32::from(be16([c[7], c[8]]));
    let last = u32::from(be16([c[8], c[9]]));
    match id {
        Id::ReadToc => Cdb::ReadToc {
            msf: c[1] & 0x02 != 0,
            // The drivers of ATAPI's day still put it into the vendor specific bits of CONTROL.
            format: match c[2] & 0x0F {
                0 => c[9] >> 6,
                format => format,
            },
            track: c[6],
            alloc,
        },
        Id::GetConfiguration => Cdb::GetConfiguration {
            rt: c[1] & 0x03,
            feature: be16([c[2], c[3]]),
            alloc,
        },
        Id::GetEventStatusNotification => Cdb::GetEventStatusNotification {
            polled: c[1] & 0x01 != 0,
            classes: c[4],
            alloc,
        },
        Id::ReadDiscInformation => Cdb::ReadDiscInformation {
            kind: c[1] & 0x07,
            alloc,
        },
        Id::ReadDiscStructure => Cdb::ReadDiscStructure {
            media_type: c[1] & 0x0F,
            address: be32([c[2], c[3], c[4], c[5]]),
            layer: c[6],
            format: c[7],
            alloc: last,
        },
        Id::MechanismStatus => Cdb::MechanismStatus { alloc: last },
        Id::ReadCd => Cdb::ReadCd {
            lba: Lba(be32([c[2], c[3], c[4], c[5]]).into()),
            blocks: BlockCount(be32([0, c[6], c[7], c[8]]).into()),
            sector: c[1] >> 2 & 0x07,
            fields: c[9],
            sub_channel: c[10],
        },
        _ => Cdb::Other(id),
    }
}

fn inquiry(c: &Head) -> Result<Cdb, Sense> {
    let vpd = (c[1] & 0x01 != 0).then_some(c[2]);
    // A page code without EVPD has no meaning (SPC-4 6.6.1).
    if vpd.is_none() && c[2] != 0 {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)));
    }
    Ok(Cdb::Inquiry {
        vpd,
        alloc: be16([c[3], c[4]]).into(),
    })
}

fn page_control(byte: u8) -> PageControl {
    match byte >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    }
}

fn mode_sense(id: CommandId, c: &Head) -> Cdb {
    let ten = id == CommandId::ModeSense10;
    Cdb::ModeSense {
        dbd: c[1] & 0x08 != 0,
        llbaa: ten && c[1] & 0x10 != 0,
        pc: page_control(c[2]),
        page: c[2] & 0x3F,
        subpage: c[3],
        alloc: if ten {
            be16([c[7], c[8]]).into()
        } else {
            c[4].into()
        },
        ten,
    }
}

fn log(id: CommandId, c: &Head) -> Cdb {
    let (sp, pc, page, subpage) = (c[1] & 0x01 != 0, page_control(c[2]), c[2] & 0x3F, c[3]);
    let len = be16([c[7], c[8]]).into();
    if id == CommandId::LogSense {
        Cdb::LogSense {
            sp,
            pc,
            page,
            subpage,
            pointer: be16([c[5], c[6]]),
            alloc: len,
        }
    } else {
        Cdb::LogSelect {
            pcr: c[1] & 0x02 != 0,
            sp,
            pc,
            page,
            subpage,
            parameter_list_len: len,
        }
    }
}

fn diagnostic(id: CommandId, c: &Head) -> Cdb {
    let len = be16([c[3], c[4]]).into();
    if id == CommandId::ReceiveDiagnosticResults {
        return Cdb::ReceiveDiagnosticResults {
            page: (c[1] & 0x01 != 0).then_some(c[2]),
            alloc: len,
        };
    }
    Cdb::SendDiagnostic {
        code: c[1] >> 5,
        pf: c[1] & 0x10 != 0,
        self_test: c[1] & 0x04 != 0,
        devoffl: c[1] & 0x02 != 0,
        unitoffl: c[1] & 0x01 != 0,
        parameter_list_len: len,
    }
}

fn buffer(id: CommandId, c: &Head) -> Cdb {
    let (mode, mode_specific, buffer_id) = (c[1] & 0x1F, c[1] >> 5, c[2]);
    let offset = be32([0, c[3], c[4], c[5]]);
    let len = be32([0, c[6], c[7], c[8]]);
    if id == CommandId::ReadBuffer10 {
        Cdb::ReadBuffer {
            mode,
            mode_specific,
            id: buffer_id,
            offset,
            alloc: len,
        }
    } else {
        Cdb::WriteBuffer {
            mode,
            mode_specific,
            id: buffer_id,
            offset,
            parameter_list_len: len,
        }
    }
}

fn report_target_port_groups(c: &Head) -> Result<Cdb, Sense> {
    let extended = match c[1] >> 5 {
        0 => false,
        1 => true,
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(7))),
    };
    Ok(Cdb::ReportTargetPortGroups {
        extended,
        alloc: be32([c[6], c[7], c[8], c[9]]),
    })
}

fn read_capacity_10(c: &Head) -> Result<Cdb, Sense> {
    // LBA is meaningful with PMI only (SBC-3 5.12); with PMI one the answer is the same as without,
    // since there is no delay anywhere on the medium.
    if c[8] & 0x01 == 0 && be32([c[2], c[3], c[4], c[5]]) != 0 {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)));
    }
    Ok(Cdb::ReadCapacity10)
}

fn read_capacity_16(c: &Head) -> Result<Cdb, Sense> {
    if c[14] & 0x01 == 0 && be64(c) != 0 {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)));
    }
    Ok(Cdb::ReadCapacity16 {
        alloc: be32([c[10], c[11], c[12], c[13]]),
    })
}

fn read_defect_data(id: CommandId, c: &Head) -> Cdb {
    let twelve = id == CommandId::ReadDefectData12;
    let flags = if twelve { c[1] } else { c[2] };
    Cdb::ReadDefectData {
        primary: flags & 0x10 != 0,
        grown: flags & 0x08 != 0,
        format: flags & 0x07,
        index: if twelve {
            be32([c[2], c[3], c[4], c[5]])
        } else {
            0
        },
        alloc: if twelve {
            be32([c[6], c[7], c[8], c[9]])
        } else {
            be16([c[7], c[8]]).into()
        },
        twelve,
    }
}

fn receive_copy_results(c: &Head) -> Cdb {
    let service_action = c[1] & 0x1F;
    let list_id = match service_action {
        0 | 1 | 4 => c[2].into(),
        5..=7 => be32([c[2], c[3], c[4], c[5]]),
        _ => 0,
    };
    Cdb::ReceiveCopyResults {
        service_action,
        list_id,
        alloc: be32([c[10], c[11], c[12], c[13]]),
    }
}
