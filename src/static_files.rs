//! The HTTP surface beside Engine.IO (spec §7): the monitor page and browser bundles, which are
//! embedded; the folders that users keep beside their settings; and the files that clients have
//! mapped.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_files::NamedFile;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{
            self, ByteRangeSpec, CacheControl, CacheDirective, ContentRange, ContentRangeSpec, ETag,
            EntityTag, Header, HttpDate, IfModifiedSince, IfNoneMatch, LastModified, Range,
        },
    },
    web::{self, Bytes},
};
use actors::{
    functions::StaticMap,
    protocol::{Dialect, constants},
};
use arc_swap::ArcSwap;
use log::warn;
use percent_encoding::percent_decode_str;
use rust_embed::{Embed, EmbeddedFile};
use sha2::{Digest, Sha256};

use crate::access::Access;

/// The page and the bundles, as npm built them.
#[derive(Embed)]
#[folder = "web/dist"]
struct Page;

/// Folders below the data directory that are served as they are (spec §7).
const FOLDERS: [&str; 4] = ["lib", "exampleClient", "public", "client"];

/// The page loads nothing from elsewhere and connects to its own origin only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that is served by path.
pub struct StaticFiles {
    embedded: HashMap<String, Asset>,
    mapped: Arc<ArcSwap<StaticMap>>,
    data: PathBuf,
    socket_io_path: String,
}

/// A file in memory.
struct Asset {
    bytes: Bytes,
    mime: String,
    etag: EntityTag,
    modified: SystemTime,
    /// An HTML page of ours: gets the policy.
    page: bool,
}

impl Asset {
    fn new(bytes: Bytes, path: &str, modified: SystemTime) -> Self {
        let digest: String =
            Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self {
            bytes,
            mime: mime_of(path),
            etag: EntityTag::new_strong(digest),
            modified,
            page: path.ends_with(".html"),
        }
    }
}

fn mime_of(path: &str) -> String {
    match path.rsplit('.').next() {
        Some("js" | "mjs") => "application/javascript; charset=UTF-8".to_owned(),
        Some("html") => "text/html; charset=UTF-8".to_owned(),
        Some("css") => "text/css; charset=UTF-8".to_owned(),
        Some("map" | "json") => "application/json; charset=UTF-8".to_owned(),
        _ => mime_guess::from_path(path).first_or_octet_stream().to_string(),
    }
}

impl StaticFiles {
    /// The embedded files, the folders below `data`, and the mappings that clients make.
    /// `socket_io_path` is where the page finds the broker.
    pub fn new(data: &Path, mapped: Arc<ArcSwap<StaticMap>>, socket_io_path: &str) -> Self {
        let mut embedded = HashMap::new();
        let started = SystemTime::now();
        let load = |name: &str| {
            let EmbeddedFile { data, metadata } = Page::get(name)?;
            let modified = metadata.last_modified().map(|secs| UNIX_EPOCH + Duration::from_secs(secs));
            Some((Bytes::from(data.into_owned()), modified.unwrap_or(started)))
        };
        for name in Page::iter().filter(|name| !name.starts_with("vendor/")) {
            if let Some((bytes, modified)) = load(&name) {
                embedded.insert(format!("/{name}"), Asset::new(bytes, &name, modified));
            }
        }
        if let Some((index, modified)) = load("index.html") {
            let index = String::from_utf8_lossy(&index)
                .replace("content=\"/socket.io/\"", &format!("content=\"{socket_io_path}\""));
            for path in ["/", "/index.html"] {
                embedded.insert(path.to_owned(), Asset::new(index.clone().into(), "index.html", modified));
            }
        } else {
            let text = "The monitor page was not built into this broker. Run `make web`, then build again.\n";
            embedded.insert(
                "/".to_owned(),
                Asset::new(Bytes::from_static(text.as_bytes()), "index.txt", started),
            );
        }
        let manifest =
            load("vendor/manifest.json").and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok());
        let manifest: HashMap<String, String> = manifest.unwrap_or_default();
        for (path, file) in manifest {
            if let Some((bytes, modified)) = load(&format!("vendor/{file}")) {
                let path = match path.strip_prefix("/socket.io/") {
                    Some(rest) => format!("{socket_io_path}{rest}"),
                    None => path,
                };
                embedded.insert(path.clone(), Asset::new(bytes, &path, modified));
            }
        }
        for (path, dialect) in
            [("/lib/constants.js", Dialect::Numeric), ("/lib/constants.named.js", Dialect::Named)]
        {
            embedded.insert(path.to_owned(), Asset::new(constants::module(dialect).into(), path, started));
        }
        Self { embedded, mapped, data: data.to_owned(), socket_io_path: socket_io_path.to_owned() }
    }

    async fn find(&self, path: &str, request: &HttpRequest) -> Option<HttpResponse> {
        if let Some(asset) = self.embedded.get(path) {
            return Some(serve_asset(asset, request));
        }
        let mapped = self.mapped.load().get(path).map(|resource| resource.file.clone());
        if let Some(file) = mapped {
            return serve_file(&file, request).await;
        }
        self.folder_file(path, request).await
    }

    async fn folder_file(&self, path: &str, request: &HttpRequest) -> Option<HttpResponse> {
        let relative = path.strip_prefix('/')?;
        let top = relative.split('/').next()?;
        if !FOLDERS.contains(&top) || !is_plain(relative) {
            return None;
        }
        let root = self.data.join(top);
        let file = self.data.join(relative.trim_end_matches('/'));
        let found = web::block(move || {
            let root = root.canonicalize().ok()?;
            let file = file.canonicalize().ok()?;
            let metadata = file.starts_with(&root).then(|| file.metadata().ok())??;
            Some((file, metadata.is_dir()))
        });
        match (found.await.ok()??, relative.ends_with('/')) {
            ((_, true), false) => moved(request),
            ((folder, true), true) => serve_file(&folder.join("index.html"), request).await,
            ((file, false), false) => serve_file(&file, request).await,
            ((_, false), true) => None,
        }
    }
}

/// A request's path as the names that it means, decoded once, so that an encoded `..` is seen as one. The
/// router's own decoding leaves `%25`, `%2B` and `%2F` as they are. None if it is no text, or if a name holds a
/// slash, which would pass for two names.
fn decoded(path: &str) -> Option<String> {
    let name = |segment| percent_decode_str(segment).decode_utf8().ok().filter(|name| !name.contains('/'));
    let names: Option<Vec<_>> = path.split('/').map(name).collect();
    Some(names?.join("/"))
}

/// No dot files, no parents, no other separators: what is left cannot leave the folder by name.
fn is_plain(relative: &str) -> bool {
    let segments = || relative.trim_end_matches('/').split('/');
    let named = segments().all(|segment| !segment.is_empty() && !segment.starts_with('.'));
    let clean = !relative.contains(['\\', '\0']);
    named && clean && Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)))
}

/// To the same path with a slash, as it was asked for: encoded, and with its query.
fn moved(request: &HttpRequest) -> Option<HttpResponse> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("{}/{query}", request.uri().path());
    let to = header::HeaderValue::from_bytes(to.as_bytes()).ok()?;
    Some(HttpResponse::MovedPermanently().insert_header((header::LOCATION, to)).finish())
}

async fn serve_file(path: &Path, request: &HttpRequest) -> Option<HttpResponse> {
    let opened = path.to_owned();
    let file = web::block(move || NamedFile::open(opened)).await.ok()?.ok()?;
    if !file.metadata().is_file() {
        return None;
    }
    let mime = mime_of(path.to_str()?).parse().ok()?;
    let file =
        file.use_etag(true).use_last_modified(true).set_content_type(mime).disable_content_disposition();
    let mut response = file.into_response(request);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public, max-age=0"));
    Some(response)
}

fn serve_asset(asset: &Asset, request: &HttpRequest) -> HttpResponse {
    let modified = HttpDate::from(asset.modified);
    let fresh = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) if !tags.is_empty() => tags.iter().any(|tag| tag.weak_eq(&asset.etag)),
        _ => IfModifiedSince::parse(request)
            .is_ok_and(|since| SystemTime::from(since.0) >= whole_seconds(asset.modified)),
    };
    let mut response = HttpResponse::build(if fresh { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    response.insert_header(CacheControl(vec![CacheDirective::Public, CacheDirective::MaxAge(0)]));
    response.insert_header(ETag(asset.etag.clone()));
    response.insert_header(LastModified(modified));
    response.insert_header((header::ACCEPT_RANGES, "bytes"));
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if asset.page {
        response.insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY));
    }
    if fresh {
        return response.finish();
    }
    response.content_type(asset.mime.as_str());
    let length = asset.bytes.len() as u64;
    match one_range(request, length) {
        None => response.body(asset.bytes.clone()),
        Some(Ok((first, last))) => {
            let spec = ContentRangeSpec::Bytes { range: Some((first, last)), instance_length: Some(length) };
            response.status(StatusCode::PARTIAL_CONTENT).insert_header(ContentRange(spec));
            let range =
                usize::try_from(first).unwrap_or(usize::MAX)..=usize::try_from(last).unwrap_or(usize::MAX);
            response.body(asset.bytes.slice(range))
        }
        Some(Err(())) => {
            let spec = ContentRangeSpec::Bytes { range: None, instance_length: Some(length) };
            response.status(StatusCode::RANGE_NOT_SATISFIABLE).insert_header(ContentRange(spec)).finish()
        }
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A single satisfiable range; several are answered with the whole file, as is allowed.
fn one_range(request: &HttpRequest, length: u64) -> Option<Result<(u64, u64), ()>> {
    let Range::Bytes(ranges) = Range::parse(request).ok()? else {
        return None;
    };
    let [one] = ranges.as_slice() else {
        return None;
    };
    let range: &ByteRangeSpec = one;
    Some(range.to_satisfiable_range(length).ok_or(()))
}

/// What is shown to somebody who has given the broker a name.
const FOREIGN_HOST: &str = "Forbidden. If this is your broker, add its name to server.allowed_hosts.";

/// Every request that no other route takes.
pub async fn serve(
    request: HttpRequest,
    files: web::Data<StaticFiles>,
    access: web::Data<Access>,
) -> HttpResponse {
    if let Err(denied) = access.host(&request) {
        warn!(peer:? = request.peer_addr(), path = request.path(), denied:%; "request refused");
        return HttpResponse::Forbidden().content_type("text/html; charset=utf-8").body(FOREIGN_HOST);
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        let path = decoded(request.uri().path());
        if let Some(path) = path
            && let Some(mut response) = files.find(&path, &request).await
        {
            // Pages of other local origins load the client bundles from here; nothing else (spec §7).
            if path.starts_with(&files.socket_io_path)
                && let Ok(admitted) = access.check(&request)
            {
                admitted.add_headers(response.headers_mut());
            }
            return response;
        }
    }
    not_found()
}

/// `Not Found` (spec §7).
pub fn not_found() -> HttpResponse {
    HttpResponse::NotFound().content_type("text/html; charset=utf-8").body("Not Found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_slashes_only_separate() {
        for (path, expected) in [
            ("/a/b", Some("/a/b")),
            ("/a%20b/%E4%B8%AD", Some("/a b/中")),
            ("/a+b%2Bc%2bd", Some("/a+b+c+d")),
            ("/100%25", Some("/100%")),
            ("/%2525", Some("/%25")),
            ("/%2e%2e/a", Some("/../a")),
            ("/%252e%252e/a", Some("/%2e%2e/a")),
            ("/%23%3F%3a", Some("/#?:")),
            // No escapes, as browsers read them.
            ("/%/%zz/%4", Some("/%/%zz/%4")),
            ("/a%2fb", None),
            ("/a%2Fb", None),
            ("/%ff", None),
            ("/%c0%ae", None),
        ] {
            assert_eq!(decoded(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_not_plain() {
        for (path, plain) in [
            ("lib/a.js", true),
            ("lib/a/b.js", true),
            ("client/x/", true),
            ("lib/../keys/clients.json", false),
            ("lib/./a", false),
            ("lib//a", false),
            ("lib/.env", false),
            ("lib/.git/config", false),
            ("lib/a\\..\\b", false),
            ("lib/a\0.js", false),
        ] {
            assert_eq!(is_plain(path), plain, "{path:?}");
        }
    }
}
