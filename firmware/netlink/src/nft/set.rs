//! The model's sets and elements and the kernel's.
//!
//! A set of ranges has two forms in the kernel. Without concatenation it is a list of borders: the
//! first key of each range, and the first key behind it, marked as an end; a range up to the last
//! possible key has no end. With concatenation each element carries its last key.

use lintel_model::nft::{DataType, Element, ElementValue, Set};
use lintel_wire::nft::{
    DATA_VERDICT, Data, ElementRepr, FAMILY_INET, SetRepr, set_flags, userdata::ByteOrder,
};

use super::expr::{decode_verdict, encode_verdict};
use crate::nft::EncodeError;

/// Bits by which nft shifts the parts of a concatenated type.
const TYPE_BITS: u32 = 6;

/// nft's number, octets and octet order of a plain type.
fn plain(data_type: &DataType) -> (u32, u32, ByteOrder) {
    match data_type {
        DataType::Ipv4Addr => (7, 4, ByteOrder::Big),
        DataType::Ipv6Addr => (8, 16, ByteOrder::Big),
        DataType::EtherAddr => (9, 6, ByteOrder::Big),
        DataType::InetProto => (12, 1, ByteOrder::Big),
        DataType::InetService => (13, 2, ByteOrder::Big),
        DataType::IcmpType => (14, 1, ByteOrder::Big),
        DataType::Mark => (19, 4, ByteOrder::Host),
        DataType::CtState => (26, 4, ByteOrder::Host),
        DataType::Icmpv6Type => (29, 1, ByteOrder::Big),
        DataType::Ifname => (41, 16, ByteOrder::Host),
        DataType::Verdict => (DATA_VERDICT, 0, ByteOrder::Unspecified),
        DataType::Other { number, octets } => (*number, *octets, ByteOrder::Unspecified),
        // Handled by `numbers`; nested concatenations do not exist.
        DataType::Concat(_) => (0, 0, ByteOrder::Unspecified),
    }
}

fn numbers(data_type: &DataType) -> (u32, u32, ByteOrder) {
    match data_type {
        DataType::Concat(parts) => {
            let (number, octets) = parts.iter().map(plain).fold((0, 0), |(n, o), part| {
                (n << TYPE_BITS | part.0, o + part.1.next_multiple_of(4))
            });
            (number, octets, ByteOrder::Unspecified)
        }
        other => plain(other),
    }
}

fn decode_type(number: u32, octets: u32) -> DataType {
    const PLAIN: [DataType; 10] = [
        DataType::Ipv4Addr,
        DataType::Ipv6Addr,
        DataType::EtherAddr,
        DataType::InetProto,
        DataType::InetService,
        DataType::IcmpType,
        DataType::Mark,
        DataType::CtState,
        DataType::Icmpv6Type,
        DataType::Ifname,
    ];
    let find = |n: u32| PLAIN.into_iter().find(|t| plain(t).0 == n);
    let other = DataType::Other { number, octets };
    if number == DATA_VERDICT {
        return DataType::Verdict;
    }
    if number >> TYPE_BITS == 0 {
        return find(number)
            .filter(|t| plain(t).1 == octets)
            .unwrap_or(other);
    }
    let parts: Option<Vec<DataType>> = (0..32 / TYPE_BITS)
        .rev()
        .map(|n| number >> (n * TYPE_BITS) & ((1 << TYPE_BITS) - 1))
        .skip_while(|n| *n == 0)
        .map(find)
        .collect();
    parts
        .map(DataType::Concat)
        .filter(|t| numbers(t).1 == octets)
        .unwrap_or(other)
}

/// The kernel's form of a set without its elements.
pub(super) fn encode<'a>(table: &'a str, set: &'a Set) -> SetRepr<'a> {
    let (key_type, key_len, key_order) = numbers(&set.key);
    let value = set.value.as_ref().map(numbers);
    let concat_ranges = set.interval && matches!(set.key, DataType::Concat(_));
    let fields = match &set.key {
        DataType::Concat(parts) if concat_ranges => parts.iter().map(|p| plain(p).1).collect(),
        _ => Vec::new(),
    };
    SetRepr {
        family: FAMILY_INET,
        table,
        name: &set.name,
        flags: u32::from(set.interval) * set_flags::INTERVAL
            + u32::from(concat_ranges) * set_flags::CONCAT
            + u32::from(value.is_some()) * set_flags::MAP,
        key_type,
        key_len,
        fields,
        data_type: value.map(|v| v.0),
        data_len: value.map_or(0, |v| v.1),
        size: 0,
        orders: Some((key_order, value.map(|v| v.2))),
    }
}

/// The model's form of a set without its elements.
pub(super) fn decode(repr: &SetRepr<'_>) -> Set {
    const OURS: u32 = set_flags::INTERVAL | set_flags::CONCAT | set_flags::MAP;
    let key = if repr.flags & !OURS == 0 {
        decode_type(repr.key_type, repr.key_len)
    } else {
        // A kind of set that the model cannot say, for example with timeouts.
        DataType::Other {
            number: repr.key_type,
            octets: repr.key_len,
        }
    };
    Set {
        name: repr.name.to_owned(),
        key,
        value: (repr.flags & set_flags::MAP != 0)
            .then(|| decode_type(repr.data_type.unwrap_or(0), repr.data_len)),
        interval: repr.flags & set_flags::INTERVAL != 0,
        elements: Vec::new(),
    }
}

/// An element on its way to the kernel; owns the borders that are not in the model.
#[derive(Debug)]
pub(super) struct Border<'a> {
    element: &'a Element,
    /// The first key behind the range.
    end: Option<Vec<u8>>,
    concat: bool,
}

/// Checks the elements' sizes and works out the borders.
pub(super) fn borders<'a>(
    set: &Set,
    elements: &'a [Element],
) -> Result<Vec<Border<'a>>, EncodeError> {
    let key_octets = usize::try_from(numbers(&set.key).1).unwrap_or(usize::MAX);
    let concat = matches!(set.key, DataType::Concat(_));
    elements
        .iter()
        .map(|element| {
            let end = element.key_end.as_deref();
            let sizes = element.key.len() == key_octets
                && end.is_none_or(|end| end.len() == key_octets)
                && element.value.is_some() == set.value.is_some();
            if !sizes || end.is_some() != set.interval {
                return Err(EncodeError::Element {
                    set: set.name.clone(),
                    key: element.key.clone(),
                });
            }
            Ok(Border {
                element,
                end: end.filter(|_| !concat).and_then(successor),
                concat,
            })
        })
        .collect()
}

impl Border<'_> {
    /// One or two elements of the kernel.
    pub(super) fn reprs(&self) -> impl Iterator<Item = ElementRepr<'_>> {
        let start = ElementRepr {
            key: &self.element.key,
            key_end: self.element.key_end.as_deref().filter(|_| self.concat),
            data: self.element.value.as_ref().map(|value| match value {
                ElementValue::Data(bytes) => Data::Value(bytes),
                ElementValue::Verdict(verdict) => Data::Verdict(encode_verdict(verdict)),
            }),
            interval_end: false,
            catchall: false,
        };
        let end = self.end.as_deref().map(|key| ElementRepr {
            key,
            key_end: None,
            data: None,
            interval_end: true,
            catchall: false,
        });
        std::iter::once(start).chain(end)
    }
}

/// Puts the kernel's elements into the model's form and order.
pub(super) fn decode_elements(set: &Set, mut reprs: Vec<ElementRepr<'_>>) -> Vec<Element> {
    // At one key the end of a range comes before the start of the next.
    reprs.sort_by(|a, b| (a.key, !a.interval_end).cmp(&(b.key, !b.interval_end)));
    let borders = set.interval && !matches!(set.key, DataType::Concat(_));
    let mut elements: Vec<Element> = Vec::new();
    let mut open = false;
    for repr in reprs {
        if repr.interval_end {
            // An end without a start is nft's mark before the first range.
            if open && let Some(last) = elements.last_mut() {
                last.key_end = predecessor(repr.key);
            }
            open = false;
            continue;
        }
        if open && let Some(last) = elements.last_mut() {
            last.key_end = predecessor(repr.key);
        }
        open = borders;
        elements.push(Element {
            key: repr.key.to_vec(),
            key_end: set.interval.then(|| {
                if borders {
                    vec![0xff; repr.key.len()]
                } else {
                    repr.key_end.unwrap_or(repr.key).to_vec()
                }
            }),
            value: repr.data.and_then(|data| match data {
                Data::Value(bytes) => Some(ElementValue::Data(bytes.to_vec())),
                Data::Verdict(verdict) => decode_verdict(&verdict).map(ElementValue::Verdict),
            }),
        });
    }
    elements
}

/// The next key, `None` behind the last.
fn successor(key: &[u8]) -> Option<Vec<u8>> {
    step(key, 0xff, |octet| octet.wrapping_add(1))
}

/// The key before, `None` before the first.
fn predecessor(key: &[u8]) -> Option<Vec<u8>> {
    step(key, 0, |octet| octet.wrapping_sub(1))
}

/// Adds or subtracts one with carry; octets equal to `carries` pass it on.
fn step(key: &[u8], carries: u8, one: impl Fn(u8) -> u8) -> Option<Vec<u8>> {
    let mut key = key.to_vec();
    for octet in key.iter_mut().rev() {
        let carry = *octet == carries;
        *octet = one(*octet);
        if !carry {
            return Some(key);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concatenated_types_have_the_numbers_that_nft_sends() {
        let of = |parts: &[DataType]| numbers(&DataType::Concat(parts.to_vec()));
        let device = of(&[DataType::EtherAddr, DataType::Ipv4Addr]);
        assert_eq!((device.0, device.1), (0x247, 12));
        let service = of(&[DataType::Ipv4Addr, DataType::InetService]);
        assert_eq!((service.0, service.1), (0x1cd, 8));
        assert_eq!(
            decode_type(0x247, 12),
            DataType::Concat(vec![DataType::EtherAddr, DataType::Ipv4Addr])
        );
    }

    #[test]
    fn keys_step_with_carry() {
        assert_eq!(successor(&[1, 0xff]), Some(vec![2, 0]));
        assert_eq!(successor(&[0xff, 0xff]), None);
        assert_eq!(predecessor(&[2, 0]), Some(vec![1, 0xff]));
        assert_eq!(predecessor(&[0, 0]), None);
    }

    #[test]
    fn ranges_survive_the_trip_in_any_order() {
        let range = |a: u8, b: u8| Element {
            key: vec![10, 0, 0, a],
            key_end: Some(vec![10, 0, 0, b]),
            value: None,
        };
        let mut set = Set {
            name: "s".into(),
            key: DataType::Ipv4Addr,
            value: None,
            interval: true,
            elements: vec![range(0, 0), range(1, 9), range(20, 255)],
        };
        set.elements.push(Element {
            key: vec![255, 255, 255, 0],
            key_end: Some(vec![255; 4]),
            value: None,
        });
        let borders = borders(&set, &set.elements).unwrap();
        let mut reprs: Vec<_> = borders.iter().flat_map(Border::reprs).collect();
        reprs.reverse();
        assert_eq!(decode_elements(&set, reprs), set.elements);
    }
}
