//! The example does what it says.

#[path = "../examples/four_steps.rs"]
mod four_steps;

#[tokio::test]
async fn save_get_delete_get() {
    let seen = four_steps::four_steps().await.expect("four steps");
    let expected = [
        "saved: 2 copies",
        "got: hello, from the first",
        "deleted: 1 of 1",
        "deleted: 1 of 1",
        "got: hello, from the second",
        "first: false, second: true",
    ];
    assert_eq!(seen, expected);
}
