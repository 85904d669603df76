//! All stories, in the order in which they are played. Each is one file, told from the user's side.

mod access_lists;
mod away;
mod bad_object_refused;
mod bound_login;
mod certificate;
mod certificate_issued;
mod certificate_replaced;
mod closed_network;
mod crowd;
mod desk;
mod every_provider_relays;
mod examples_accepted;
mod fields_followed;
mod filters_asked;
mod guest;
mod hibernated;
mod image_rolled;
mod install_and_send;
mod limits_followed;
mod listener_deleted;
mod mail_fields;
mod mail_forwarded;
mod mail_signed;
mod namesakes;
mod neighbours;
mod node_unplugged;
mod objects_follow;
mod objects_judged;
mod operator_killed;
mod orders;
mod peers_alone;
mod pod_killed;
mod queue_ordered;
mod relay_cases;
mod relay_login;
mod reports_sent;
mod roles;
mod rolled_under_load;
mod scale_down;
mod self_tests;
mod senders_judged;
mod service_accounts;
mod signed;
mod spool_adopted;
mod spool_format;
mod stand_ins;
mod volume_full;
mod volume_lost;
mod volumes_grow;

use crate::story::Story;

/// Every story.
pub const ALL: &[Story] = &[
    story("peers_keep_mail_as_it_is", peers_alone::play),
    story("bad_object_refused", bad_object_refused::play),
    story("roles_added_to_the_standard_ones", roles::play),
    story("examples_accepted", examples_accepted::play),
    story("objects_judged", objects_judged::play),
    story("install_and_send", install_and_send::play),
    story(
        "certificate_replaced_while_session_open",
        certificate_replaced::play,
    ),
    story("certificate_issued_by_cert_manager", certificate_issued::play),
    story("service_account_sends_with_its_token", service_accounts::play),
    story("neighbour_changes_nothing", neighbours::play),
    story("namesakes_one_wins", namesakes::play),
    // Its rounds of tests are a minute apart. None of the four stops the second mail system, which it needs at first.
    Story {
        beside: 4,
        ..story("self_tests_say_what_they_find", self_tests::play)
    },
    story("fields_followed_without_restart", fields_followed::play),
    story("objects_follow_fields", objects_follow::play),
    story("mail_fields_followed", mail_fields::play),
    story("limits_followed_without_restart", limits_followed::play),
    story("relay_logs_in_with_a_secret", relay_login::play),
    story("every_provider_relays", every_provider_relays::play),
    story("senders_judged", senders_judged::play),
    story("access_lists_followed", access_lists::play),
    story("filters_asked_or_closed", filters_asked::play),
    story("mail_signed_with_made_keys", mail_signed::play),
    story("reports_sent_once_and_dane_validated", reports_sent::play),
    story("queue_ordered_and_expired", queue_ordered::play),
    story("pod_killed_in_mid_transaction", pod_killed::play),
    story("scale_down_with_deferred_mail", scale_down::play),
    story("hibernated_and_paused_by_annotation", hibernated::play),
    story("listener_deleted_with_mail", listener_deleted::play),
    story("image_rolled_pod_by_pod", image_rolled::play),
    story("operator_killed_during_scale_down", operator_killed::play),
    story("orphaned_spool_adopted", spool_adopted::play),
    Story {
        exhaustive: true,
        ..story("image_rolled_under_load", rolled_under_load::play)
    },
    Story {
        exhaustive: true,
        ..story("spool_format_forward_and_back", spool_format::play)
    },
    // The rest need what only the local cluster has.
    Story {
        needs_machines: true,
        ..story("volumes_grow_without_restart", volumes_grow::play)
    },
    Story {
        needs_machines: true,
        ..story("volume_full", volume_full::play)
    },
    Story {
        needs_machines: true,
        ..story("volume_lost_in_mid_hand_over", volume_lost::play)
    },
    Story {
        needs_machines: true,
        ..story("node_unplugged", node_unplugged::play)
    },
];

const fn story(name: &'static str, play: fn(&crate::story::Scene<'_>) -> crate::kubectl::Outcome) -> Story {
    Story {
        name,
        needs_machines: false,
        exhaustive: false,
        beside: 0,
        play,
    }
}
