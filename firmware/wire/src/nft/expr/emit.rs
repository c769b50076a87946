//! Writing the data of an instruction.

use super::{Data, Expr};
use crate::nl::Writer;

impl Expr<'_> {
    #[expect(clippy::too_many_lines, reason = "one arm for each instruction")]
    pub(super) fn emit_data(&self, w: &mut Writer) {
        match *self {
            Self::Meta { key, dreg } => {
                w.be32(2, key);
                w.be32(1, dreg);
            }
            Self::MetaSet { key, sreg } => {
                w.be32(2, key);
                w.be32(3, sreg);
            }
            Self::Ct {
                key,
                direction,
                dreg,
            } => {
                w.be32(2, key);
                w.be32(1, dreg);
                if let Some(direction) = direction {
                    w.u8(3, direction);
                }
            }
            Self::CtSet { key, sreg } => {
                w.be32(2, key);
                w.be32(4, sreg);
            }
            Self::Payload {
                base,
                offset,
                len,
                dreg,
            } => {
                w.be32(1, dreg);
                w.be32(2, base);
                w.be32(3, offset);
                w.be32(4, len);
            }
            Self::Bitwise {
                sreg,
                dreg,
                mask,
                xor,
            } => {
                w.be32(1, sreg);
                w.be32(2, dreg);
                w.be32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                w.be32(6, 0);
                w.nest(4, |w| Data::Value(mask).emit(w));
                w.nest(5, |w| Data::Value(xor).emit(w));
            }
            Self::Byteorder {
                sreg,
                dreg,
                op,
                len,
                size,
            } => {
                w.be32(1, sreg);
                w.be32(2, dreg);
                w.be32(3, op);
                w.be32(4, len);
                w.be32(5, size);
            }
            Self::Cmp { op, sreg, data } => {
                w.be32(1, sreg);
                w.be32(2, op);
                w.nest(3, |w| Data::Value(data).emit(w));
            }
            Self::Range { op, sreg, from, to } => {
                w.be32(1, sreg);
                w.be32(2, op);
                w.nest(3, |w| Data::Value(from).emit(w));
                w.nest(4, |w| Data::Value(to).emit(w));
            }
            Self::Lookup {
                set,
                sreg,
                dreg,
                flags,
            } => {
                w.str(1, set);
                w.be32(2, sreg);
                if let Some(dreg) = dreg {
                    w.be32(3, dreg);
                }
                if flags != 0 {
                    w.be32(5, flags);
                }
            }
            Self::Immediate { dreg, ref data } => {
                w.be32(1, dreg);
                w.nest(2, |w| data.emit(w));
            }
            Self::Counter => {
                w.be64(1, 0);
                w.be64(2, 0);
            }
            Self::Log {
                group,
                prefix,
                level,
                snaplen,
                threshold,
                flags,
            } => {
                if !prefix.is_empty() {
                    w.str(2, prefix);
                }
                match group {
                    // The kernel refuses a level together with a group.
                    Some(group) => {
                        w.be16(1, group);
                        if snaplen != 0 {
                            w.be32(3, snaplen);
                        }
                        if threshold != 0 {
                            w.be16(4, threshold);
                        }
                    }
                    None => {
                        w.be32(5, level);
                        if flags != 0 {
                            w.be32(6, flags);
                        }
                    }
                }
            }
            Self::Reject { kind, code } => {
                w.be32(1, kind);
                w.u8(2, code);
            }
            Self::Limit {
                rate,
                unit_s,
                burst,
                kind,
                flags,
            } => {
                w.be64(1, rate);
                w.be64(2, unit_s);
                w.be32(3, burst);
                w.be32(4, kind);
                w.be32(5, flags);
            }
            Self::Quota { bytes, flags } => {
                w.be64(1, bytes);
                w.be32(2, flags);
            }
            Self::Connlimit { count, flags } => {
                w.be32(1, count);
                w.be32(2, flags);
            }
            Self::Fib {
                flags,
                result,
                dreg,
            } => {
                w.be32(1, dreg);
                w.be32(2, result);
                w.be32(3, flags);
            }
            Self::Nat {
                kind,
                family,
                addr_min,
                addr_max,
                proto_min,
                proto_max,
                flags,
            } => {
                w.be32(1, kind);
                w.be32(2, family);
                for (attr, register) in
                    [(3, addr_min), (4, addr_max), (5, proto_min), (6, proto_max)]
                {
                    if let Some(register) = register {
                        w.be32(attr, register);
                    }
                }
                if flags != 0 {
                    w.be32(7, flags);
                }
            }
            Self::Masq {
                flags,
                proto_min,
                proto_max,
            } => {
                if flags != 0 {
                    w.be32(1, flags);
                }
                emit_ports(w, 2, proto_min, proto_max);
            }
            Self::Redir {
                flags,
                proto_min,
                proto_max,
            } => {
                emit_ports(w, 1, proto_min, proto_max);
                if flags != 0 {
                    w.be32(3, flags);
                }
            }
            Self::Rt { key, dreg } => {
                w.be32(2, key);
                w.be32(1, dreg);
            }
            Self::Exthdr {
                op,
                kind,
                offset,
                len,
                flags,
                dreg,
            } => {
                w.be32(1, dreg);
                w.u8(2, kind);
                w.be32(3, offset);
                w.be32(4, len);
                if flags != 0 {
                    w.be32(5, flags);
                }
                w.be32(6, op);
            }
            Self::ExthdrSet {
                op,
                kind,
                offset,
                len,
                sreg,
            } => {
                w.be32(7, sreg);
                w.u8(2, kind);
                w.be32(3, offset);
                w.be32(4, len);
                w.be32(6, op);
            }
            Self::Unknown { .. } => {}
        }
    }
}

fn emit_ports(w: &mut Writer, first: u16, min: Option<u32>, max: Option<u32>) {
    if let Some(min) = min {
        w.be32(first, min);
    }
    if let Some(max) = max {
        w.be32(first + 1, max);
    }
}
