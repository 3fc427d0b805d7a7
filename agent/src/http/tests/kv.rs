use super::*;

#[tokio::test]
async fn keys_are_written_read_and_deleted() {
    let agent = TestAgent::start().await;
    let pair = r#"[{"LockIndex":0,"Key":"hello","Flags":42,"Value":"V29ybGQ=","CreateIndex":N,"ModifyIndex":N}]"#;
    let raw = [
        ("content-type", "text/plain"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox"),
        ("content-length", "5"),
    ];
    for (request, body, status, headers, expected) in [
        ("GET /v1/kv/hello", "", 404, &[("x-consul-knownleader", "true")][..], ""),
        ("PUT /v1/kv/hello?flags=42", "World", 200, &[JSON], "true"),
        ("GET /v1/kv/hello", "", 200, &[JSON], pair),
        ("GET /v1/kv/hello?raw", "", 200, &raw, "World"),
        ("GET /v1/kv/hel?recurse", "", 200, &[JSON], pair),
        ("GET /v1/kv/?recurse", "", 200, &[JSON], pair),
        ("GET /v1/kv/hel", "", 404, &[], ""),
        ("DELETE /v1/kv/hello", "", 200, &[JSON], "true"),
        ("DELETE /v1/kv/hello", "", 200, &[JSON], "true"),
        ("GET /v1/kv/hello", "", 404, &[], ""),
        ("GET /v1/kv/?recurse", "", 404, &[], ""),
        ("PUT /v1/kv/empty", "", 200, &[], "true"),
        (
            "GET /v1/kv/empty",
            "",
            200,
            &[],
            r#"[{"LockIndex":0,"Key":"empty","Flags":0,"Value":null,"CreateIndex":N,"ModifyIndex":N}]"#,
        ),
        ("GET /v1/kv/empty?raw", "", 200, &[("content-length", "0")], ""),
        ("GET /v1/kv/", "", 400, &[TEXT], "Missing key name"),
        ("PUT /v1/kv/", "x", 400, &[TEXT], "Missing key name"),
        ("DELETE /v1/kv/", "", 400, &[TEXT], "Missing key name"),
        (
            "PUT /v1/kv/a?cas=0&acquire=s&token=secret",
            "",
            400,
            &[TEXT],
            "Conflicting flags: acquire=s&cas=0\n",
        ),
        ("DELETE /v1/kv/a?recurse&cas=1", "", 400, &[], "Conflicting flags: cas=1&recurse=\n"),
        (
            "PUT /v1/kv/a?flags=x",
            "",
            500,
            &[TEXT],
            "strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
    ] {
        agent.check(request, body, status, headers, expected).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn s1_20_the_body_is_the_value_whatever_its_content_type() {
    let agent = TestAgent::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "a=b&c=%41+d";
    assert_eq!(agent.send_with("PUT /v1/kv/f", &form, body).await.text(), "true");
    assert_eq!(agent.get("/v1/kv/f?raw").await.text(), body);
    let bytes: Vec<u8> = (0..=255).collect();
    agent.send("PUT /v1/kv/bytes", bytes.clone()).await;
    assert_eq!(agent.get("/v1/kv/bytes?raw").await.body, bytes);
    agent.stop().await;
}

#[tokio::test]
async fn a_key_is_the_rest_of_the_path_decoded() {
    let agent = TestAgent::start().await;
    for (path, key) in [
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a%2Fb", "a/b"),
        ("%2F%2Fx", "//x"),
        ("dir/", "dir/"),
        ("%C3%A4%3F", "ä?"),
        ("a%25b", "a%b"),
    ] {
        agent.check(&format!("PUT /v1/kv/{path}"), "v", 200, &[], "true").await;
        assert_eq!(agent.get(&format!("/v1/kv/{path}")).await.json()[0]["Key"], key);
    }
    agent.check("GET /v1/kv/%ff", "", 400, &[], "Invalid URL: not percent-encoded UTF-8").await;
    agent.stop().await;
}

#[tokio::test]
async fn keys_can_be_listed_up_to_a_separator() {
    let agent = TestAgent::start().await;
    for key in ["a", "dir/", "dir/one", "dir/sub/two", "dir/sub/three", "z"] {
        agent.send(&format!("PUT /v1/kv/{key}"), "").await;
    }
    for (query, status, expected) in [
        ("?keys", 200, r#"["a","dir/","dir/one","dir/sub/three","dir/sub/two","z"]"#),
        ("?keys&separator=/", 200, r#"["a","dir/","z"]"#),
        ("dir/?keys&separator=/", 200, r#"["dir/","dir/one","dir/sub/"]"#),
        ("dir/?keys&seperator=/", 200, r#"["dir/","dir/one","dir/sub/"]"#),
        ("dir/s?keys", 200, r#"["dir/sub/three","dir/sub/two"]"#),
        ("nothing?keys", 404, ""),
    ] {
        agent.check(&format!("GET /v1/kv/{query}"), "", status, &[], expected).await;
    }
    agent.check("DELETE /v1/kv/dir/?recurse", "", 200, &[], "true").await;
    agent.check("GET /v1/kv/?keys", "", 200, &[], r#"["a","z"]"#).await;
    agent.check("DELETE /v1/kv/?recurse", "", 200, &[], "true").await;
    agent.check("GET /v1/kv/?keys", "", 200, &[], "[]").await;
    agent.stop().await;
}

#[tokio::test]
async fn check_and_set_compares_the_modify_index() {
    let agent = TestAgent::start().await;
    agent.check("PUT /v1/kv/k?cas=7", "no", 200, &[], "false").await;
    agent.check("PUT /v1/kv/k?cas=0", "one", 200, &[], "true").await;
    agent.check("PUT /v1/kv/k?cas=0", "two", 200, &[], "false").await;
    let index = agent.get("/v1/kv/k").await.json()[0]["ModifyIndex"].as_u64().unwrap();
    // A shell's empty variable is not the same as no condition.
    let empty = r#"strconv.ParseUint: parsing "": invalid syntax"#;
    for request in ["PUT /v1/kv/k?cas=", "DELETE /v1/kv/k?cas="] {
        agent.check(request, "two", 500, &[], empty).await;
    }
    agent.check(&format!("PUT /v1/kv/k?cas={index}"), "three", 200, &[], "true").await;
    agent.check("GET /v1/kv/k?raw", "", 200, &[], "three").await;
    agent.check(&format!("DELETE /v1/kv/k?cas={index}"), "", 200, &[], "false").await;
    let index = agent.get("/v1/kv/k").await.json()[0]["ModifyIndex"].as_u64().unwrap();
    agent.check(&format!("DELETE /v1/kv/k?cas={index}"), "", 200, &[], "true").await;
    agent.check("GET /v1/kv/k", "", 404, &[], "").await;
    agent.stop().await;
}
