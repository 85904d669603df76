//! Only CRLF . CRLF ends a message (CVE-2023-51764 and its like): nothing behind another ending is ever a command.

use crate::stage::Play;

#[tokio::test(flavor = "multi_thread")]
async fn no_other_ending_starts_a_second_message() {
    for ending in [
        "\n.\n",
        "\r.\r",
        "\n.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\r.\r\n",
        "\r\n\0.\r\n",
    ] {
        let stage = Play::default().start().await;
        let mut client = stage.smtp().await;
        client
            .expect(&[
                ("EHLO client.example", 250),
                ("MAIL FROM:<a@else.example>", 250),
                ("RCPT TO:<bob@example.com>", 250),
                ("DATA", 354),
            ])
            .await;
        let smuggled =
            "MAIL FROM:<evil@else.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nevil\r\n.\r\n";
        client
            .send(format!("Subject: x\r\n\r\nx{ending}{smuggled}").as_bytes())
            .await;
        // One reply at most for the one message, whatever it is.
        let reply = client.next().await;
        let code = reply.as_ref().map_or(0, |reply| reply.code);
        assert!(
            matches!(code, 0 | 250 | 421) || (500..600).contains(&code),
            "{ending:?}: {reply:?}"
        );
        for id in stage.entries() {
            let message = stage.daemon.handles().spool.read(id).unwrap();
            assert_eq!(message.item.envelope.reverse_path, "a@else.example", "{ending:?}");
        }
        assert!(stage.entries().len() <= 1, "{ending:?}");
        stage.stop().await;
    }
}
