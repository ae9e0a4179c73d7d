use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutPayload,
    PutResult,
};

use super::*;

fn objects(store: &Arc<InMemory>) -> Objects {
    Objects::new(store.clone(), ObjectPath::from("vidimus/eu"), "s3://b/vidimus/eu".to_owned())
        .expect("opened")
}

fn file(name: &str) -> &Path {
    Path::new(name)
}

#[test]
fn what_never_changes_is_not_overwritten_and_what_does_only_as_it_was_seen() {
    let store = Arc::new(InMemory::new());
    let (one, other) = (objects(&store), objects(&store));
    let segment = file("segments/00000000000000000000.log");
    one.put(segment, b"records".to_vec()).expect("put");
    other.put(segment, b"records".to_vec()).expect("the same is there");
    let taken = other.put(segment, b"others".to_vec()).expect_err("something else");
    assert!(matches!(taken, ArchiveError::Taken { .. }), "{taken}");
    assert_eq!(one.read(segment).expect("read").map(|found| found.bytes).as_deref(), Some(&b"records"[..]));

    // Both would begin it; then both have seen its first end.
    let checkpoint = file("checkpoint");
    one.replace(checkpoint, b"10", None).expect("the first");
    let raced = other.replace(checkpoint, b"20", None).expect_err("the second");
    assert!(matches!(raced, ArchiveError::Raced { .. }), "{raced}");
    let seen = other.read(checkpoint).expect("read");
    other.replace(checkpoint, b"20", seen.as_ref()).expect("as it was seen");
    let raced = one.replace(checkpoint, b"30", seen.as_ref()).expect_err("it is another by now");
    assert!(matches!(raced, ArchiveError::Raced { .. }), "{raced}");
    // Whose answer was lost did it all the same.
    other.replace(checkpoint, b"20", seen.as_ref()).expect("it is there");
    one.guard(checkpoint, b"20").expect("it does not overwrite");
    assert_eq!(one.read(file("pruned")).expect("read"), None);
}

#[test]
fn tiles_are_there_when_they_are_settled() {
    let store = Arc::new(InMemory::new());
    let one = objects(&store);
    let hashes = [[7; 32]; 256];
    for index in 0..TILES as u64 + 3 {
        one.tile(FullTile { level: 0, index, hashes: &hashes }).expect("put");
    }
    let names = one.names(file("tile")).expect("listed");
    assert_eq!(names.len(), TILES, "together");
    one.settle().expect("settled");
    let names = one.names(file("tile")).expect("listed");
    assert_eq!(names.len(), TILES + 3);
    assert!(names.contains(file("tile/0/066")), "{names:?}");
    one.tile(FullTile { level: 0, index: 1, hashes: &[[8; 32]; 256] }).expect("put");
    assert!(matches!(one.settle(), Err(ArchiveError::Taken { .. })));
    // A prefix is a directory, and not how a name begins.
    let beside = Objects::new(store, ObjectPath::from("vidimus/e"), String::new()).expect("opened");
    assert!(beside.all(0).expect("listed").is_empty());
}

/// As stores are that have never heard of conditions.
#[derive(Debug)]
struct Unconditional(InMemory);

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unconditional")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult, StoreError> {
        let options = PutOptions { mode: PutMode::Overwrite, ..options };
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>, StoreError> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult, StoreError> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath, StoreError>>,
    ) -> BoxStream<'static, Result<ObjectPath, StoreError>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta, StoreError>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult, StoreError> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> Result<(), StoreError> {
        self.0.copy_opts(from, to, options).await
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let store = Arc::new(Unconditional(InMemory::new()));
    let one = Objects::new(store, ObjectPath::from("a"), "s3://b/a".to_owned()).expect("opened");
    let key = file("keys/checkpoint.vkey");
    one.put(key, b"key".to_vec()).expect("put");
    let refused = one.guard(key, b"key").expect_err("it overwrites");
    assert!(matches!(refused, ArchiveError::Unconditional { .. }), "{refused}");
    assert_eq!(one.read(key).expect("read").map(|found| found.bytes), Some(b"key".to_vec()));
}

#[test]
fn a_listing_ends_and_a_name_that_no_file_can_have_is_told() {
    let store = Arc::new(InMemory::new());
    let one = objects(&store);
    for name in 0..BESIDE + 2 {
        one.put(file(&format!("x/{name}")), Vec::new()).expect("put");
    }
    let error = one.all(0).expect_err("too many").to_string();
    assert!(error.contains("more than 100 objects"), "{error}");
    let all = one.all(RECORDS_OF_OBJECT * 2).expect("of so many records");
    assert_eq!(all.len() as u64, BESIDE + 2);
    assert!(one.all(u64::MAX).is_ok(), "no sum of it overflows");

    // As the client has it that meets one in a listing.
    let long = "a".repeat(64);
    for (name, says) in [
        ("vidimus/segments/../../x".to_owned(), "`vidimus/segments/../../x`"),
        (format!("vidimus/{long}/.."), "`vidimus/…/..`"),
        ("vidimus/\u{1b}[2J/..".to_owned(), "`vidimus/…/..`"),
        ("vidimus//x".to_owned(), "`vidimus//x`"),
    ] {
        let source = ObjectPath::parse(&name).expect_err("no path");
        let said = why(&StoreError::InvalidPath { source });
        assert!(said.contains(says) && !said.contains(&long) && !said.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn what_a_store_says_is_not_repeated() {
    let token = "x-amz-security-token:hunter2";
    let said = |text: &str| {
        why(&StoreError::Generic { store: "S3", source: format!("{text} <CanonicalRequest>{token}").into() })
    };
    for (text, says) in [
        ("status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>", "SignatureDoesNotMatch"),
        ("status code: 503 Service Unavailable: ", "503"),
        ("<Code>hunter2</Code>", "an error"),
        ("status code: 403: <Code>hunter2</Code>", "403"),
        ("Error performing PUT http://169.254.169.254/latest/api/token", "AWS_ACCESS_KEY_ID"),
        ("something else", "AWS_"),
    ] {
        let said = said(text);
        assert!(said.contains(says) && !said.contains("hunter2"), "{text}: {said}");
    }
}
