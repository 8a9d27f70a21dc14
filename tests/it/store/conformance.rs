//! The contract of `Store`, case by case. Mounted for a store by one line: `conformance_suite!(name, Rig)`.

pub(super) mod imports;
pub(super) mod log;
pub(super) mod nodes;
pub(super) mod races;
pub(super) mod sessions;
pub(super) mod tickets;
pub(super) mod upkeep;

/// Mounts every case for a store. Each test has a store of its own.
macro_rules! conformance_suite {
    ($name:ident, $rig:ty) => {
        mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "a rig may be named by its path or be in scope")]
            use super::*;

            conformance_suite!(@cases $rig, sessions:
                a_created_session_loads_as_it_was,
                an_unknown_session_is_absent,
                creating_again_changes_nothing,
                a_login_beyond_the_limit_ends_the_oldest,
                a_login_never_ends_itself,
                expired_sessions_do_not_count_against_the_limit,
                a_swap_replaces_the_whole_record,
                a_swap_of_a_changed_record_is_lost,
                a_swap_never_brings_a_record_to_life,
                an_acknowledgement_counts_for_the_current_generation_alone,
                a_swap_decided_before_an_acknowledgement_is_lost,
                acknowledgements_come_in_batches_over_all_partitions,
                sessions_of_a_subject_are_live_and_oldest_first,
                pages_go_from_the_newest_to_the_oldest_and_miss_none,
                a_page_stays_where_it_is_whatever_comes_and_goes,
                odd_and_long_strings_come_back_unchanged,
                the_store_answers_a_probe,
            );
            conformance_suite!(@cases $rig, log:
                revoking_a_session_deletes_and_logs_it,
                revoking_an_unknown_session_is_logged,
                revoking_twice_is_harmless,
                revoking_a_subject_ends_what_was_created_before,
                revoking_a_token_is_logged_alone,
                a_follower_reads_the_whole_log_and_then_the_news,
                a_waiting_follower_wakes_up,
                silence_is_a_heartbeat,
                following_without_a_wait_returns_at_once,
                two_followers_see_the_same,
                a_long_log_is_read_whole,
            );
            conformance_suite!(@cases $rig, upkeep:
                a_lease_has_one_holder_at_a_time,
                many_ask_for_a_lease_and_one_gets_it,
                a_lease_that_ran_out_is_taken_over_under_a_higher_number,
                who_was_overtaken_writes_nothing_any_more,
                a_sweep_removes_what_has_ended,
                a_sweep_spares_what_was_extended,
                a_sweep_of_many_sessions_removes_and_counts_them_all,
                sweepers_that_compete_count_each_end_once,
                a_sweep_forgets_what_may_be_forgotten,
                totals_are_counted_once_however_often_they_are_told,
                totals_told_at_the_same_time_are_counted_once,
                days_are_told_in_their_order_and_only_those_asked_for,
                a_measurement_counts_what_lives,
                the_last_sweep_and_measurement_are_remembered,
            );
            conformance_suite!(@cases $rig, nodes:
                a_revocation_of_everyone_is_logged_alone,
                what_was_created_before_a_moment_is_ended_everywhere,
                a_node_is_known_until_it_was_silent_for_too_long_or_leaves,
                a_canary_wakes_a_follower_and_is_no_revocation,
                a_canary_comes_after_what_was_logged_before_it,
                canaries_do_not_pile_up,
                a_canary_for_everyone_stays_until_all_have_seen_it,
                receipts_are_of_one_canary,
            );
            conformance_suite!(@cases $rig, imports:
                an_imported_token_names_its_session,
                importing_again_changes_nothing,
                a_session_that_ended_is_not_imported_again,
                an_import_knows_no_limit_and_counts_for_the_next_login,
                imports_come_in_batches_over_all_partitions,
                a_token_that_stands_twice_in_a_batch_is_imported_once,
                a_sweep_forgets_imported_tokens,
            );
            conformance_suite!(@cases $rig, tickets:
                a_ticket_is_spent_once_under_its_own_name,
                a_subject_gets_so_many_tickets_however_many_sessions_it_has,
                of_many_who_spend_a_ticket_one_gets_it,
                a_ticket_ends_and_makes_room_for_another,
            );
            conformance_suite!(@cases $rig, races:
                one_of_many_swaps_wins_each_version,
                concurrent_creation_of_one_session_makes_one,
                concurrent_logins_stay_within_the_limit,
                a_swap_that_races_a_revocation_revives_nothing,
                two_imports_at_once_import_each_token_once,
                a_follower_misses_nothing_of_concurrent_writers,
            );
        }
    };
    (@cases $rig:ty, $group:ident: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let rig = <$rig as $crate::store::rig::Rig>::start().await;
                $crate::store::conformance::$group::$case($crate::store::rig::Rig::store(&rig)).await;
            }
        )+
    };
}
