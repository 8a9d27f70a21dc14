//! What an upstream may take for a path of a stricter route.

use super::*;

#[test]
fn what_an_upstream_may_take_for_a_stricter_route_is_refused() {
    let mixed = table(vec![route("/", Access::Public), route("/admin", token()), route("/@me", scoped(&["me"]))]);
    for target in [
        "/Admin",
        "/ADMIN/x",
        "/x%2F..",
        "/%2Fadmin",
        "/admin;x",
        "/admin%3Bx/y",
        "/;x/admin",
        "/%40me",
        "/%2540me",
        "/%25%25361dmin",
    ] {
        let found = found(&mixed, &Method::GET, "h", target);
        assert!(found == "ambiguous" || found == "400", "{target}: {found}");
    }
    for target in ["/admins", "/x//y", "/caf%C3%A9", "/a;b", "/x%2Fadmin"] {
        assert_eq!(found(&mixed, &Method::GET, "h", target), "/", "{target}");
    }
    let exact = Route { exact: true, ..route("/admin", token()) };
    assert_eq!(found(&table(vec![route("/", Access::Public), exact]), &Method::GET, "h", "/admin/"), "ambiguous");
}

#[test]
fn what_frameworks_servers_and_file_systems_take_for_a_stricter_route_is_refused() {
    let mixed = table(vec![route("/", Access::Public), route("/tasks", token()), route("/admin/skills", scoped(&["admin"]))]);
    for target in [
        "/tasks.json",
        "/tasks.json/",
        "/tasks.a.b",
        "/tasks%20.json",
        "/Tasks.JSON",
        "/tasks.php/1",
        "/index.php/tasks",
        "/a/../tasks",
        "/INDEX.PHP/tasks/1",
        "/index.php%2Ftasks",
        "/tasks.",
        "/tasks./1",
        "/tasks..",
        "/tasks%20",
        "/%20tasks/1",
        "/tasks+",
        "/tasks%2E",
        "/tasks%3Fx",
        "/tasks%3fx/y",
        "/tasks%23x",
        "/tasks%253Fx",
        "/tasks%3Bx%252Fy",
        "/ta%C5%BFks",
        "/tas%E2%84%AAs",
        "/ta%25C5%25BFks",
        "/%EF%BD%94asks",
        "/t%C3%A1sks",
        "/ta%CC%81sks",
        "/tasks%E2%80%8B",
        "/x%EF%BC%8F..%EF%BC%8Ftasks",
        "/x/%E2%80%A5/tasks",
        "/x/%EF%BC%8E%EF%BC%8E/tasks",
        "/%EF%BC%8Ftasks",
        "/%E2%88%95tasks",
        "/x/..%20/tasks",
        "/tasks::$DATA",
        "/tasks:$i30:$INDEX_ALLOCATION/1",
        "/%25u0074asks",
        "/%25uFF54asks",
        "/%EF%BC%8574asks",
        "/adm%C4%B1n/skills",
        "/adm%C4%B0n/skills/1",
        "/admin/%C5%BFkills",
        "/admin./skills",
        "/admin/skills.xml",
        "/admin.php/skills",
        "/%25252525252574asks",
        "/...//tasks",
    ] {
        let found = found(&mixed, &Method::GET, "h", target);
        assert!(found == "ambiguous" || found == "400", "{target}: {found}");
    }
    for target in [
        "/files/report.pdf",
        "/taskstasks.json",
        "/task.json",
        "/x/tasks.json",
        "/tasks-1.json",
        "/.well-known/x.json",
        "/v1.2/things",
        "/admin.css",
        "/admin/index.html",
        "/search/a+b",
        "/c++",
        "/things:cancel",
        "/urn:x::y",
        "/index.php/x",
        "/x/tasks.php/y",
        "/100%EF%BC%85.pdf",
        "/a%E2%80%A6b",
        "/%E2%80%A6",
        "/stra%C3%9Fe",
        "/a%20b.c",
    ] {
        assert_eq!(found(&mixed, &Method::GET, "h", target), "/", "{target}");
    }
    for target in ["/tasks/1.json", "/tasks/a+b", "/tasks/x.php/y", "/tasks/%C5%BF", "/tasks/index.html"] {
        assert_eq!(found(&mixed, &Method::GET, "h", target), "/tasks", "{target}");
    }
    let alone = table(vec![route("/", Access::Public), Route { exact: true, ..route("/tasks", token()) }]);
    for target in ["/tasks.json", "/tasks/index.html", "/tasks/Default.aspx", "/tasks/index", "/tasks;x=%252F"] {
        assert_eq!(found(&alone, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    assert_eq!(found(&alone, &Method::GET, "h", "/tasks/1.json"), "/");
}

#[test]
fn a_route_that_names_a_path_means_it() {
    let style = route("/admin.css", Access::Public);
    let script = route("/index.php", Access::Public);
    let api = route("/api", token());
    let table = table(vec![route("/", token()), route("/admin", scoped(&["admin"])), style, script, api]);
    assert_eq!(found(&table, &Method::GET, "h", "/admin.css"), "/admin.css");
    assert_eq!(found(&table, &Method::GET, "h", "/admin.js"), "ambiguous");
    assert_eq!(found(&table, &Method::GET, "h", "/index.php"), "/index.php");
    assert_eq!(found(&table, &Method::GET, "h", "/index.php/x"), "/index.php");
    assert_eq!(found(&table, &Method::GET, "h", "/index.php/api"), "ambiguous", "the script may serve it");
}

#[test]
fn a_name_without_its_extension_meets_no_laxer_route() {
    let guarded = [route("/admin.html", token()), route("/tool.php", token()), route("/page.html.en", token())];
    let open = table([vec![route("/", Access::Public)], guarded.to_vec()].concat());
    for target in ["/admin", "/Admin", "/admin/", "/admin;x", "/tool", "/tool/1", "/page", "/page.html", "/PAGE.HTML", "/%61dmin"]
    {
        assert_eq!(found(&open, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    for target in ["/admi", "/admins", "/admin/1", "/admin-html", "/page.htm", "/page.html/1", "/toolbox", "/x/admin", "/tool.ph"]
    {
        assert_eq!(found(&open, &Method::GET, "h", target), "/", "{target}");
    }
    for (target, name) in [("/admin.html", "/admin.html"), ("/tool.php/1", "/tool.php"), ("/page.html.en", "/page.html.en")] {
        assert_eq!(found(&open, &Method::GET, "h", target), name, "{target}");
    }
    let hidden = table(vec![route("/", Access::Public), route("/.env", token()), route("/files/.git", token())]);
    for target in ["/", "/files", "/files/"] {
        assert_eq!(found(&hidden, &Method::GET, "h", target), "/", "a name that begins with a dot is no extension: {target}");
    }
    let alike = table(vec![route("/", token()), route("/admin.html", token())]);
    assert_eq!(found(&alike, &Method::GET, "h", "/admin"), "/");
}

#[test]
fn a_route_that_names_a_path_without_extension_means_it() {
    let table = table(vec![route("/", token()), route("/admin", Access::Public), route("/admin.php", scoped(&["admin"]))]);
    for target in ["/admin", "/admin/", "/admin/1"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "/admin", "{target}");
    }
    for target in ["/Admin", "/ADMIN.PHP", "/admin;x"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "ambiguous", "{target}");
    }
}

#[test]
fn an_exact_route_may_end_in_a_slash() {
    let exact = |prefix: &str, access: Access| Route { exact: true, ..route(prefix, access) };
    let open = table(vec![route("/", Access::Public), exact("/tasks/", token())]);
    assert_eq!(found(&open, &Method::GET, "h", "/tasks/"), "/tasks/");
    assert_eq!(found(&open, &Method::GET, "h", "/tasks/1"), "/");
    for target in ["/tasks", "/tasks//", "/TASKS/", "/tasks.json", "/tasks/index.html"] {
        assert_eq!(found(&open, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    let alike = table(vec![route("/", token()), exact("/tasks/", token()), exact("/tasks", token())]);
    for (target, name) in [("/tasks", "/tasks"), ("/tasks/", "/tasks/"), ("/tasks//", "/")] {
        assert_eq!(found(&alike, &Method::GET, "h", target), name, "{target}");
    }
    let differ = vec![exact("/tasks/", token()), exact("/tasks", Access::Public)];
    let errors = RouteTable::new(EndpointPaths::default(), differ).unwrap_err();
    assert!(matches!(errors[..], [RouteError::SpeltAlike(..)]), "{errors:?}");
    for bad in [route("/tasks/", token()), exact("/tasks//", token()), exact("//", token())] {
        assert!(RouteTable::new(EndpointPaths::default(), vec![bad.clone()]).is_err(), "{}", bad.prefix);
    }
}

#[test]
fn a_plus_at_the_end_is_a_space_to_some_and_itself_to_others() {
    let plus = table(vec![route("/", Access::Public), route("/c++", token()), route("/a+b", token()), route("/+1", token())]);
    for target in ["/c", "/c/1", "/c+", "/1", "/a", "/c%20+x"] {
        assert_eq!(found(&plus, &Method::GET, "h", target), "/", "{target}");
    }
    for target in ["/C++", "/c%2B%2B", "/c%2b%2B/1", "/c++;x", "/c++.html", "/a%20b", "/A%2Bb", "/c%20%20", "/c++."] {
        assert_eq!(found(&plus, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    for (target, name) in [("/c++", "/c++"), ("/c++/1", "/c++"), ("/a+b", "/a+b"), ("/+1", "/+1")] {
        assert_eq!(found(&plus, &Method::GET, "h", target), name, "{target}");
    }
    let bare = table(vec![route("/", Access::Public), route("/c", token())]);
    for target in ["/c++", "/c+", "/+c", "/c%20", "/c%2B/1", "/c+.html"] {
        assert_eq!(found(&bare, &Method::GET, "h", target), "ambiguous", "{target}");
    }
}

#[test]
fn readings_cost_nothing_where_routes_do_not_differ() {
    let table = table(vec![route("/", token()), route("/tasks", token()), Route { exact: true, ..route("/admin", token()) }]);
    for target in ["/tasks.json", "/Admin", "/admin;x", "/ta%C5%BFks", "/x/..%20/tasks", "/%2525252525x"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "/", "{target}");
    }
}

#[test]
fn what_is_merely_observed_refuses_no_path() {
    let observed = Route { enforced: Share::NONE, methods: vec![Method::GET], ..route("/tasks", scoped(&["tasks"])) };
    for open in [Access::Public, Access::Optional, token()] {
        let table = table(vec![route("/", open.clone()), observed.clone()]);
        for target in ["/tasks.json", "/TASKS", "/tasks;x", "/index.php/tasks"] {
            assert_eq!(found(&table, &Method::GET, "h", target), "/", "{target} {open:?}");
        }
        assert_eq!(found(&table, &Method::GET, "h", "/tasks/1"), "/tasks");
        assert_eq!(found(&table, &Method::POST, "h", "/tasks"), "/");
    }
}

#[test]
fn a_script_leads_to_no_method_that_the_path_behind_it_refuses() {
    let read = Route { methods: vec![Method::GET], ..route("/tasks", token()) };
    let script = route("/index.php", Access::Public);
    let any = table(vec![route("/", Access::Public), script, read.clone()]);
    assert_eq!(found(&any, &Method::DELETE, "h", "/tasks"), "405 GET, HEAD");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(found(&any, &method, "h", "/index.php/tasks"), "ambiguous", "{method}");
        assert_eq!(found(&any, &method, "h", "/index.php/things"), "/index.php", "{method}");
    }
    let named = Route { methods: vec![Method::POST], ..route("/index.php", Access::Public) };
    let table = table(vec![named, read]);
    assert_eq!(found(&table, &Method::POST, "h", "/index.php/tasks"), "/index.php", "it names the method");
}

#[test]
fn what_a_more_enforced_route_may_be_meant_to_guard_is_refused() {
    let share = |prefix: &str, enforced| Route { enforced, ..route(prefix, token()) };
    let half = Share::new(50).unwrap();
    for (outer, inner, met) in [
        (Share::NONE, Share::ALL, "ambiguous"),
        (half, Share::ALL, "ambiguous"),
        (half, half, "/"),
        (Share::ALL, Share::NONE, "/"),
    ] {
        let table = table(vec![share("/", outer), share("/admin", inner)]);
        assert_eq!(found(&table, &Method::GET, "a", "/Admin"), met, "{outer:?} around {inner:?}");
    }
}

#[test]
fn unusual_paths_pass_where_nothing_stricter_could_be_meant() {
    let uniform = table(vec![route("/", token()), route("/api", token()), route("/public", Access::Public)]);
    for (target, name) in [("/api/a%2Fb", "/api"), ("/x;y", "/"), ("/a//b", "/"), ("/Public", "/"), ("/public//x", "/public")] {
        assert_eq!(found(&uniform, &Method::GET, "h", target), name, "{target}");
    }
}
