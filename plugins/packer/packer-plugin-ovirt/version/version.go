// Package version holds the version of the Packer plugin.
package version

import "github.com/hashicorp/packer-plugin-sdk/version"

var (
	// Version is the released or next version, as in semantic versioning.
	Version = "0.1.0"
	// VersionPrerelease marks what is not a release, such as "dev"; empty for a release.
	VersionPrerelease = "dev"
	// PluginVersion is what Packer is told.
	PluginVersion = version.NewPluginVersion(Version, VersionPrerelease, "")
)
