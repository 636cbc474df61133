package common

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
)

// stateDownloaded is the path of what Packer has downloaded to this host.
const stateDownloaded = "downloaded_image"

// ImageFile is a file that the daemon is to make something of: one of this host, one that the daemon fetches, or one that Packer
// downloads to this host first.
type ImageFile struct {
	// path is that of a file of this host.
	path string
	// url is what the daemon fetches.
	url string
	// urls are what Packer downloads.
	urls []string
	// checksum is `<kind>:<hex>`; empty for a file of this host whose checksum was not looked at yet.
	checksum string
	// given is the checksum that the user gave for a file of this host.
	given string
}

// digests are the kinds of checksums that Packer knows.
var digests = map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// NewImageFile reads how users of Packer name a file: a path or URLs, each of the same file, and a checksum. The options are told of
// what is wrong.
func NewImageFile(report Reporter, option string, sources []string, checksumOption, checksum string) *ImageFile {
	file := &ImageFile{}
	isLocal := len(sources) == 1 && !strings.Contains(strings.TrimPrefix(sources[0], "file://"), "://") &&
		!strings.Contains(sources[0], "::")
	if checksum != "" && checksum != "none" && checksum != options.NotKnownYet {
		parser := commonsteps.ISOConfig{ISOUrls: sources, ISOChecksum: checksum}
		if _, problems := parser.Prepare(nil); len(problems) > 0 {
			report(checksumOption, "%s", problems[0])
			return file
		}
		checksum = parser.ISOChecksum
	}
	if isLocal {
		file.path = strings.TrimPrefix(sources[0], "file://")
		if checksum != "none" && checksum != options.NotKnownYet {
			file.given = checksum
		}
		if _, err := os.Stat(file.path); err != nil && file.path != options.NotKnownYet {
			report(option, "%s", err)
		}
		return file
	}
	switch kind, _, _ := strings.Cut(checksum, ":"); {
	case checksum == options.NotKnownYet:
	case checksum == "" || checksum == "none":
		report(checksumOption, "is required for what is fetched from elsewhere, and may not be 'none'")
	case kind != "sha256" && kind != "sha512":
		report(checksumOption, "'%s' is a %s checksum; what is fetched from elsewhere takes sha256 or sha512", checksum, kind)
	}
	file.checksum = checksum
	if len(sources) == 1 && strings.HasPrefix(sources[0], "https://") {
		file.url = sources[0]
	} else {
		file.urls = sources
	}
	return file
}

// LocalFile is a file of this host.
func LocalFile(path string) *ImageFile {
	return &ImageFile{path: path}
}

// String names the file to the user.
func (f *ImageFile) String() string {
	switch {
	case f.path != "":
		return f.path
	case f.url != "":
		return withoutQuery(f.url)
	default:
		return withoutQuery(f.urls[0])
	}
}

// withoutQuery is a URL without what may hold a token.
func withoutQuery(source string) string {
	plain, _, _ := strings.Cut(source, "?")
	return plain
}

// name is the file's own name, without its folder.
func (f *ImageFile) name() string {
	source := f.path
	switch {
	case f.url != "":
		source = f.url
	case len(f.urls) > 0:
		source = f.urls[0]
	}
	source = strings.TrimRight(strings.ReplaceAll(withoutQuery(source), "\\", "/"), "/")
	name := source[strings.LastIndex(source, "/")+1:]
	if plain, err := url.PathUnescape(name); err == nil && f.path == "" {
		return plain
	}
	return name
}

// Name is what the file is called in the engine: as it is, but for characters that the engine does not allow.
func (f *ImageFile) Name() string {
	return strings.Map(func(character rune) rune {
		switch {
		case 'a' <= character && character <= 'z', 'A' <= character && character <= 'Z', '0' <= character && character <= '9',
			strings.ContainsRune("._-", character):
			return character
		default:
			return '-'
		}
	}, f.name())
}

// find sees to it that the checksum is known: it reads a file of this host, and holds it against the checksum that was given.
func (f *ImageFile) find(ctx context.Context, ui packersdk.Ui) error {
	if f.checksum != "" {
		return nil
	}
	file, size, err := openSized(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	kind, wanted, _ := strings.Cut(f.given, ":")
	ours, given := sha256.New(), io.Discard
	var theirs hash.Hash
	if known := digests[kind]; known != nil && kind != "sha256" {
		theirs = known()
		given = theirs
	} else {
		theirs = ours
	}
	ui.Sayf("Reading %s (%s)...", f.path, client.DescribeSize(size))
	shown := showBytes(ui, "checksum", size)
	defer shown.close()
	if _, err := io.Copy(io.MultiWriter(ours, given, shown), &endingReader{ctx, file}); err != nil {
		return err
	}
	if got := hex.EncodeToString(theirs.Sum(nil)); wanted != "" && got != wanted {
		return fmt.Errorf("the %s checksum of %s is %s, not %s", kind, f.path, got, wanted)
	}
	f.checksum = "sha256:" + hex.EncodeToString(ours.Sum(nil))
	return nil
}

// download is the step that downloads the file to this host; nil where that is not Packer's to do.
func (f *ImageFile) download() multistep.Step {
	if len(f.urls) == 0 {
		return nil
	}
	return &commonsteps.StepDownload{
		Checksum: f.checksum, Description: "image", ResultKey: stateDownloaded, Url: f.urls,
	}
}

// upload sends the file to the daemon, unless that has it or fetches it.
func (f *ImageFile) upload(ctx context.Context, state multistep.StateBag) error {
	path := f.path
	if downloaded := soFar[string](state, stateDownloaded); downloaded != "" {
		path = downloaded
	}
	if path == "" {
		return nil
	}
	file, size, err := openSized(path)
	if err != nil {
		return err
	}
	defer file.Close()
	ui := uiOf(state)
	ui.Sayf("Uploading %s (%s) to the daemon...", path, client.DescribeSize(size))
	shown := showBytes(ui, "upload", size)
	defer shown.close()
	_, err = clientOf(state).UploadImage(ctx, file, f.checksum, size, shown.to)
	return err
}

// openSized opens a file and tells how many bytes it has.
func openSized(path string) (file *os.File, size int64, err error) {
	if file, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// endingReader ends with its context.
type endingReader struct {
	ctx context.Context
	io.Reader
}

func (r *endingReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
