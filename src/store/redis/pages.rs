//! A subject's sessions, page by page.

use super::{RedisStore, codec};
use crate::domain::ids::{Partition, SessionId, Subject};
use crate::domain::page::Page;
use crate::domain::time::Timestamp;
use crate::store::{SessionPage, StoreError};

/// How often a page is looked for further down, where what lies above has expired and was not swept yet.
const STEPS_MAX: usize = 16;

impl RedisStore {
    pub(super) async fn newest_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError> {
        let home = self.keys.partitions().of(subject);
        let mut found = SessionPage { sessions: Vec::new(), next: page.after };
        for _ in 0..STEPS_MAX {
            let ids = self.ids_before(home, subject, found.next, page.limit + 1).await?;
            for stored in self.load_all(home, &ids).await?.into_iter().filter(|stored| stored.session.is_live(now)) {
                if found.sessions.len() == page.limit {
                    found.next = found.sessions.last().map(|session| session.id);
                    return Ok(found);
                }
                found.sessions.push(stored.session);
            }
            if ids.len() <= page.limit {
                return Ok(SessionPage { next: None, ..found });
            }
            found.next = ids.last().copied();
        }
        Ok(found)
    }

    /// The newest `count` that were created before `after`. Fewer: there are no more.
    async fn ids_before(
        &self,
        home: Partition,
        subject: &Subject,
        after: Option<SessionId>,
        count: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        let index = self.keys.subject(home, subject);
        let highest = after.map_or_else(|| "+inf".to_owned(), |id| id.created_at().millis().to_string());
        // Those of the same millisecond as `after` come first, and may not be the ones that are wanted.
        let mut asked = count;
        loop {
            let most = i64::try_from(asked).unwrap_or(i64::MAX);
            let mut args = vec![index.as_str().into(), highest.as_str().into(), "-inf".into(), "BYSCORE".into(), "REV".into()];
            args.extend(["LIMIT".into(), 0.into(), most.into()]);
            let listed = self.fleet.begin(home).await?.command("ZRANGE", args).await?;
            let listed = codec::array(&listed)?;
            let ids = listed.iter().map(codec::session_id).collect::<Result<Vec<_>, _>>()?;
            let before: Vec<SessionId> = ids.into_iter().filter(|id| after.is_none_or(|after| *id < after)).take(count).collect();
            if before.len() == count || listed.len() < asked {
                return Ok(before);
            }
            asked = asked.saturating_mul(2);
        }
    }
}
