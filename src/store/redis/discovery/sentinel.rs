//! What a sentinel says of the primary.

use fred::types::Value;

use super::Claim;
use crate::store::redis::codec;
use crate::store::redis::options::Address;

/// Reads the replies of `SENTINEL GET-MASTER-ADDR-BY-NAME` and `SENTINEL MASTER`. The first alone names the server that was
/// promoted while a failover is under way; the second, which may be refused to this user, has the epoch. `None`: the sentinel
/// watches no such service.
pub(in super::super) fn claim(address: &Value, description: Option<&Value>) -> Option<Claim> {
    let [host, port] = codec::array(address).ok()? else { return None };
    let primary = Address { host: codec::text(host)?.to_owned(), port: codec::text(port)?.parse().ok()? };
    Some(Claim { epoch: description.and_then(epoch).unwrap_or_default(), primary })
}

fn epoch(description: &Value) -> Option<u64> {
    let pairs = codec::array(description).ok()?.chunks_exact(2);
    pairs.filter(|pair| codec::text(&pair[0]) == Some("config-epoch")).find_map(|pair| codec::text(&pair[1])?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|&text| text.into()).collect())
    }

    #[test]
    fn a_claim_is_as_good_as_its_epoch() {
        let description = list(&["name", "gate", "ip", "10.0.0.1", "config-epoch", "7", "quorum", "2"]);
        let claim = claim(&list(&["10.0.0.2", "6379"]), Some(&description)).unwrap();
        assert_eq!((claim.epoch, claim.primary.to_string()), (7, "10.0.0.2:6379".to_owned()));
    }

    #[test]
    fn the_epoch_may_be_kept_from_us() {
        let address = list(&["10.0.0.2", "6379"]);
        assert_eq!(claim(&address, None).unwrap().epoch, 0);
        assert_eq!(claim(&address, Some(&Value::Null)).unwrap().epoch, 0);
    }

    #[test]
    fn a_sentinel_that_watches_no_such_service_claims_nothing() {
        for reply in [Value::Null, list(&[]), list(&["a"]), list(&["a", "x"]), Value::Integer(1)] {
            assert_eq!(claim(&reply, None), None);
        }
    }
}
