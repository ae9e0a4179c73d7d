//! Evidence for one record that needs nothing but itself and the log's key: a C2SP tlog-proof.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{self, Checkpoint, CheckpointError, SignedCheckpoint};
use crate::cosignature;
use crate::file::{self, FileError};
use crate::growth::Issued;
use crate::nodes::Nodes;
use crate::note::VerifierKey;
use crate::partial;
use crate::search::own_key;
use crate::segment::{self, SegmentError};
use crate::tile;
use crate::tree::{self, Hash, TILE, Tree};
use crate::walk::Walk;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// A path in a tree of 2^64 leaves is no longer.
const MAX_HASHES: usize = 64;

/// That a record is in a log: its index, the way to the root, and the signed checkpoint that has this root.
///
/// Its text, by `Display` and `FromStr`, is the file format `c2sp.org/tlog-proof@v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("line {line} of the proof is not {expected}")]
    Form { line: usize, expected: &'static str },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the record is not record {index} of the {size} that the checkpoint covers")]
    NotIncluded { index: u64, size: u64 },
}

impl Proof {
    /// Index of the record in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The checkpoint that it is to, as a note with all its signatures. By whom it is signed is told by [`Proof::verify`].
    pub fn note(&self) -> &str {
        &self.checkpoint
    }

    /// The same to that checkpoint with other signatures.
    pub(crate) fn to(self, checkpoint: String) -> Self {
        Self { checkpoint, ..self }
    }

    /// Checks that `record` is in the log whose key is `key`; the checkpoint that says so.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub fn verify(&self, record: &[u8], key: &VerifierKey) -> Result<Checkpoint, ProofError> {
        let signed = SignedCheckpoint::open(self.checkpoint.as_bytes(), key)?.checkpoint;
        if signed.includes(self.index, record, &self.hashes) {
            Ok(signed)
        } else {
            Err(ProofError::NotIncluded { index: self.index, size: signed.size })
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let bad = |line, expected| ProofError::Form { line, expected };
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(bad(1, "followed by an empty line and a checkpoint"))?;
        let mut lines = head.split('\n').zip(1..).peekable();
        lines.next_if(|(line, _)| *line == FIRST_LINE).ok_or(bad(1, FIRST_LINE))?;
        // Opaque and not authenticated; nothing here needs it.
        if let Some((extra, line)) = lines.next_if(|(line, _)| line.starts_with("extra "))
            && STANDARD.decode(extra.trim_start_matches("extra ")).is_err()
        {
            return Err(bad(line, "extra data in base64"));
        }
        let index = lines
            .next()
            .and_then(|(line, _)| checkpoint::decimal(line.strip_prefix("index ")?))
            .ok_or(bad(2, "the record's index"))?;
        let mut hashes = Vec::new();
        for (text, line) in lines {
            let hash = checkpoint::hash(text).filter(|_| hashes.len() < MAX_HASHES);
            hashes.push(hash.ok_or(bad(line, "a base64 SHA-256 hash"))?);
        }
        Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
    }
}

/// Why no proof can be made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error("the log's records cannot be read: {0}")]
    Segment(SegmentError),
    #[error("the log's checkpoint cannot be used: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("the log's public key cannot be used: {0}")]
    Key(String),
    /// It is younger; within a second of the log being written there is one that covers it.
    #[error("record {index} is not covered by the latest checkpoint, which is of {size} records")]
    NotCovered { index: u64, size: u64 },
    /// The same for every record of the log.
    #[error(transparent)]
    Unprovable(Arc<Self>),
    #[error("no witnesses have cosigned a checkpoint of the log, or their gateway has not kept it yet")]
    Uncosigned,
    #[error("the log's tiles and records do not fit its checkpoint; `audit verify` tells more")]
    Inconsistent,
    #[error(
        "the log has a checkpoint of {size} records, and one of {issued} has been issued: it was rolled back"
    )]
    RolledBack { size: u64, issued: u64 },
    #[error("the log's first {size} records are not those that the older checkpoint is of")]
    Altered { size: u64 },
}

impl From<FileError> for ProveError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<SegmentError> for ProveError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

/// Makes proofs against one checkpoint. Proofs of records in their order read each tile once.
#[derive(Debug)]
pub struct Prover {
    key: VerifierKey,
    signed: SignedCheckpoint,
    nodes: Nodes,
}

impl Prover {
    /// For the log in `dir`, by the key that stands in it. Where witnesses cosigned just that checkpoint, their lines are with it.
    ///
    /// # Errors
    /// See [`ProveError`].
    pub fn latest(dir: &Path) -> Result<Self, ProveError> {
        let key = own_key(dir).map_err(|error| ProveError::Key(error.to_string()))?;
        let mut signed = SignedCheckpoint::open(&file::read(&checkpoint::path(dir))?, &key)?;
        if let Some(Ok(cosigned)) = cosignature::read(dir, &key)?
            && cosigned.checkpoint == signed.checkpoint
        {
            signed = cosigned;
        }
        Self::to(dir, key, signed)
    }

    /// As [`Prover::latest`], against the newest checkpoint that enough witnesses cosigned.
    ///
    /// # Errors
    /// See [`ProveError`]; also where there is none.
    pub fn cosigned(dir: &Path) -> Result<Self, ProveError> {
        let key = own_key(dir).map_err(|error| ProveError::Key(error.to_string()))?;
        let signed = cosignature::read(dir, &key)?.ok_or(ProveError::Uncosigned)??;
        Self::to(dir, key, signed)
    }

    /// Against a checkpoint whose tree is at hand.
    pub(crate) fn of(dir: &Path, key: VerifierKey, issued: &Issued) -> Self {
        let nodes = Nodes::new(dir.to_owned(), issued.tree.clone());
        Self { key, signed: issued.signed.clone(), nodes }
    }

    fn to(dir: &Path, key: VerifierKey, signed: SignedCheckpoint) -> Result<Self, ProveError> {
        let tree = match partial::tree(dir, &signed.checkpoint) {
            Some(tree) => tree,
            None => Self::read(dir, signed.checkpoint.size)?,
        };
        Ok(Self { key, signed, nodes: Nodes::new(dir.to_owned(), tree) })
    }

    /// The tree of `size` records, from full tiles and the records behind them: reads all that is of the newest segment before those.
    fn read(dir: &Path, size: u64) -> Result<Tree, ProveError> {
        let from = size - size % TILE as u64;
        // What does not follow from the tiles is noticed by each proof, and so is a front that is missing.
        let (segments, _) = segment::list(dir)?;
        let mut walk = Walk::new(&segments, from).behind(segments.first().map_or(0, |first| first.first));
        let mut last = Vec::new();
        while walk.index() < size {
            match walk.next()? {
                Some((index, record)) if index >= from => last.push(tree::leaf(record)),
                Some(_) => {}
                None => return Err(ProveError::Inconsistent),
            }
        }
        tile::restore(dir, size, last, &[])?.ok_or(ProveError::Inconsistent)
    }

    /// The log's key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The checkpoint that is proven to.
    pub fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// The proof for record `index`, checked.
    ///
    /// # Errors
    /// See [`ProveError`].
    pub fn prove(&mut self, index: u64, record: &[u8]) -> Result<Proof, ProveError> {
        let hashes = self.inclusion(index, record)?;
        Ok(Proof { index, hashes, checkpoint: self.signed.note.clone() })
    }

    /// The hashes of the proof for record `index`, lowest first, checked.
    ///
    /// # Errors
    /// See [`ProveError`].
    pub fn inclusion(&mut self, index: u64, record: &[u8]) -> Result<Vec<Hash>, ProveError> {
        let size = self.signed.checkpoint.size;
        if index >= size {
            return Err(ProveError::NotCovered { index, size });
        }
        let hashes = tree::inclusion(index, size, |height, at| self.nodes.complete(height, at))?;
        if self.signed.checkpoint.includes(index, record, &hashes) {
            Ok(hashes)
        } else {
            Err(ProveError::Inconsistent)
        }
    }

    /// The hashes that show that the log begins with what `older` is of, checked.
    ///
    /// # Errors
    /// See [`ProveError`]; also where it does not.
    pub fn consistency(&mut self, older: &Checkpoint) -> Result<Vec<Hash>, ProveError> {
        let size = self.signed.checkpoint.size;
        if older.size > size {
            return Err(ProveError::RolledBack { size, issued: older.size });
        }
        let hashes = self.consistency_from(older.size)?;
        if self.signed.checkpoint.continues(older, &hashes) {
            Ok(hashes)
        } else {
            Err(ProveError::Altered { size: older.size })
        }
    }

    /// The hashes that show that the log begins with what its first `older` records were, for who knows their root and checks it.
    ///
    /// # Errors
    /// See [`ProveError`].
    pub fn consistency_from(&mut self, older: u64) -> Result<Vec<Hash>, ProveError> {
        let size = self.signed.checkpoint.size;
        if older > size {
            return Err(ProveError::RolledBack { size, issued: older });
        }
        tree::consistency(older, size, |height, at| self.nodes.complete(height, at))
    }
}

impl Checkpoint {
    /// Whether `record` is record `index` of those that this commits to, by a proof's hashes, lowest first.
    pub fn includes(&self, index: u64, record: &[u8], hashes: &[Hash]) -> bool {
        tree::root_of_proof(index, self.size, tree::leaf(record), hashes) == Some(self.root)
    }

    /// Whether what this commits to begins with what `older` does, by a proof's hashes, lowest first.
    pub fn continues(&self, older: &Self, hashes: &[Hash]) -> bool {
        tree::is_consistent((older.size, &older.root), (self.size, &self.root), hashes)
    }
}
