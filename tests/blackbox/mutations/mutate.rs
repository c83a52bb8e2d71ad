//! What can be done to a message: to its bytes, to its fields, and to the frame around it.

use cairn_proto::MAX_MESSAGE_BYTES;
use prost::encoding::encode_varint;

use crate::harness::Draw;

/// Longest run of bytes that is put into a field.
const LONG: usize = 1 << 20;
/// Numbers at the ends of what fits.
const ODD: [u64; 8] =
    [0, 1, u32::MAX as u64, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX];

/// A field as it lies in a message.
#[derive(Debug, Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Mutates a message: mostly it stays one, now and then it is only bytes.
pub(super) fn message(draw: &mut Draw, valid: Vec<u8>, other: &[u8]) -> Vec<u8> {
    match draw.below(10) {
        0..=2 => valid,
        3..=7 => {
            let mut fields = read(&valid).expect("what we made is a message");
            for _ in 0..=draw.below(3) {
                change_fields(draw, &mut fields);
            }
            written(&fields)
        }
        _ => change_bytes(draw, valid, other),
    }
}

impl Value {
    fn length(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

fn change_fields(draw: &mut Draw, fields: &mut Vec<Field>) {
    if fields.is_empty() {
        let value = Value::Number(odd(draw));
        return fields.push(Field { number: 1 + draw.below(12), value });
    }
    let (at, with) = (at(draw, fields.len()), at(draw, fields.len()));
    match draw.below(9) {
        0 => {
            fields.remove(at);
        }
        1 => fields.push(fields[at].clone()),
        2 => {
            let value = fields[with].value.clone();
            fields[with].value = std::mem::replace(&mut fields[at].value, value);
        }
        3 => fields[at].number = 1 + draw.below(16),
        4 => {
            // Far more of one field than anybody sends, up to more than a message may have.
            let length = fields[at].value.length();
            let most = (1 << draw.below(11)).min(1 + 2 * MAX_MESSAGE_BYTES / (length + 1));
            fields.extend(vec![fields[at].clone(); most]);
        }
        _ => change_value(draw, &mut fields[at].value),
    }
}

fn change_value(draw: &mut Draw, value: &mut Value) {
    match value {
        Value::Number(number) => *number = odd(draw),
        Value::Bytes(bytes) => {
            // A message within the message, or bytes that happen to be one.
            if draw.below(2) == 0
                && let Some(mut fields) = read(bytes).filter(|fields| !fields.is_empty())
            {
                change_fields(draw, &mut fields);
                *bytes = written(&fields);
                return;
            }
            *bytes = match draw.below(8) {
                0 => Vec::new(),
                1 => vec![0; 15],
                2 => vec![0; 16],
                3 => vec![255; 16],
                4 => vec![b'a'; at(draw, LONG)],
                5 => vec![b'a', 0, b'b'],
                6 => vec![0xc3, 0x28],
                _ => (0..draw.below(64)).map(|_| draw.below(256) as u8).collect(),
            };
        }
    }
}

fn odd(draw: &mut Draw) -> u64 {
    match draw.below(3) {
        0 => ODD[at(draw, ODD.len())],
        1 => draw.below(2000),
        _ => draw.below(u64::MAX),
    }
}

/// An index below `length`, which is not 0.
fn at(draw: &mut Draw, length: usize) -> usize {
    draw.below(length.max(1) as u64) as usize
}

fn change_bytes(draw: &mut Draw, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    let (from, to) = (at(draw, bytes.len()), at(draw, bytes.len()));
    let (from, to) = (from.min(to), from.max(to));
    match draw.below(6) {
        0 => {
            for _ in 0..=draw.below(8) {
                let at = at(draw, bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << draw.below(8);
                }
            }
        }
        1 => bytes.truncate(from),
        2 => bytes.extend((0..draw.below(40)).map(|_| draw.below(256) as u8)),
        3 => bytes.extend_from_within(from..to),
        // A length or a number with all its bits.
        4 => {
            bytes.splice(from..from, [[0xff; 9].as_slice(), &[1]].concat());
        }
        _ => {
            bytes.splice(from..to, other.iter().copied());
        }
    }
    bytes
}

/// The fields of a message; `None` when these bytes are none.
fn read(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = Some(tag >> 3).filter(|number| *number > 0)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value.to_vec())
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(bytes).ok()
}

fn written(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        match value {
            Value::Number(value) => {
                encode_varint(number << 3, &mut bytes);
                encode_varint(*value, &mut bytes);
            }
            Value::Bytes(value) => {
                encode_varint(number << 3 | 2, &mut bytes);
                encode_varint(value.len() as u64, &mut bytes);
                bytes.extend(value);
            }
        }
    }
    bytes
}

/// The frame of gRPC around a message: a flag and a length.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("messages are short");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// A frame that is none.
pub(super) fn badly_framed(draw: &mut Draw, message: &[u8]) -> Vec<u8> {
    let mut frame = framed(message);
    match draw.below(7) {
        0 => frame[0] = 1,
        1 => frame[0] = 1 + draw.below(255) as u8,
        2 => frame[1..5].copy_from_slice(&u32::MAX.to_be_bytes()),
        3 => frame[1..5].copy_from_slice(&(draw.below(1 << 32) as u32).to_be_bytes()),
        4 => frame.truncate(at(draw, frame.len())),
        5 => frame.extend(framed(message)),
        _ => frame.extend([0, 0]),
    }
    frame
}
