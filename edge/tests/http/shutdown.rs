//! How it ends.

use std::time::Duration;

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::client::Shop;

#[tokio::test]
async fn at_shutdown_idle_connections_are_closed_and_no_new_ones_are_taken() {
    let shop = Shop::open().await;
    let mut idle = TcpStream::connect(shop.address).await.unwrap();
    assert_eq!(shop.get("/docs/problems").await.status, 200);
    shop.process.shutdown.cancel();
    timeout(Duration::from_secs(5), shop.served)
        .await
        .expect("it ends in time")
        .unwrap();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(TcpStream::connect(shop.address).await.is_err());
}
