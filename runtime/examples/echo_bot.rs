//! A bot that accepts every contact and repeats what it is told. Its arguments are its folder and the
//! nodes to join through; other settings are read from the environment, as `SKEP_DHT_LISTEN`.
//!
//! ```sh
//! cargo run -p skep --example echo_bot -- /tmp/echo-bot bootstrap.example:4222
//! ```

use skep::{Event, Node, NodeConfig, NodeError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), NodeError> {
    let mut arguments = std::env::args().skip(1);
    let mut config = NodeConfig::load(None)?;
    config.data_dir = arguments.next().unwrap_or_else(|| "echo-bot".to_owned()).into();
    config.dht.bootstrap.extend(arguments);
    let node = Node::start(config).await?;
    let mut events = node.events();

    // The first start makes the account; later ones find it.
    let account = match node.accounts().await?.into_iter().next() {
        Some(account) => account,
        None => node.create_account("Echo bot", None, |step| tell(&step.stage)).await?,
    };
    let me = account.describe().await?.id;
    tell(&format!("add me as a contact: {me}"));

    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => None,
        };
        let done = match event.map(|event| event.event) {
            None => break,
            Some(Event::ContactRequest { from, .. }) => account.accept(from).await.map(|_| ()),
            Some(Event::Message { conversation, message })
                if message.author != me && message.kind == "text/plain" =>
            {
                account.conversation(conversation).reply(message.id, message.body).await.map(|_| ())
            }
            Some(Event::Missed { count }) => {
                tell(&format!("{count} events were missed; I was too slow"));
                Ok(())
            }
            Some(_) => Ok(()),
        };
        if let Err(error) = done {
            tell(&error.to_string());
        }
    }
    node.shutdown().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a bot on the command line talks to its owner there")]
fn tell(text: &str) {
    println!("{text}");
}
