//! Ends sessions by their age, whosever they are.

use super::{RedisStore, SWEEP_STEPS_MAX, SWEPT_PER_STEP, StoreError, codec, scripts};
use crate::domain::ids::Partition;
use crate::domain::time::Timestamp;

impl RedisStore {
    /// Walks the expiry index, which names every session. What is in it all the while is met; what is met twice is gone by then.
    pub(super) async fn end_in_partition(&self, partition: Partition, moment: Timestamp) -> Result<u64, StoreError> {
        let expiry = self.keys.expiry(partition);
        let (mut ended, mut cursor) = (0, "0".to_owned());
        for _ in 0..SWEEP_STEPS_MAX {
            let call = self.fleet.begin(partition).await?;
            let args = vec![expiry.as_str().into(), cursor.into(), "COUNT".into(), super::count(SWEPT_PER_STEP)];
            let page = call.command("ZSCAN", args).await?;
            let [next, members] = codec::array(&page)? else { return Err(unreadable_scan()) };
            cursor = codec::text(next).ok_or_else(unreadable_scan)?.to_owned();
            let (mut keys, mut args) = (vec![expiry.clone()], Vec::new());
            // Each member is followed by its score.
            for member in codec::array(members)?.iter().step_by(2) {
                let (id, subject) = codec::expiring(member)?;
                if id.created_at() < moment {
                    keys.extend([self.keys.session(id), self.keys.subject(partition, &subject)]);
                    args.push(member.clone());
                }
            }
            if !args.is_empty() {
                let deleted = codec::integer(&call.script(&scripts::END, &keys, &args).await?)?;
                ended += u64::try_from(deleted).unwrap_or_default();
            }
            if cursor == "0" {
                return Ok(ended);
            }
        }
        Err(StoreError::Unavailable("there are too many sessions to end them in one go".into()))
    }
}

fn unreadable_scan() -> StoreError {
    StoreError::Unreadable("reply of a scan".into())
}
