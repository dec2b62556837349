//go:build linux

package parts

import (
	"context"
	"strings"
)

// nodePackages lists the node's Debian packages: those of minikube's node image that
// matter to users of a debugger.
func nodePackages() []string {
	return []string{
		"systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "rsync",
		"runc", "iproute2", "procps", "ca-certificates",
	}
}

const debianRelease = "bookworm"

// setUpScript runs in the new root. It adds minikube's user, who can log in only with a
// key (sshd refuses an account that is locked with "!"), and masks units that a
// container does not need. It removes the host keys, since each node has its own.
const setUpScript = `set -e
useradd --create-home --shell /bin/bash --password '*' docker
echo 'docker ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/docker
chmod 0440 /etc/sudoers.d/docker
install -d -m 0700 -o docker -g docker /home/docker/.ssh
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: > /etc/machine-id
: > /etc/resolv.conf
systemctl mask --quiet systemd-udevd.service systemd-udevd-kernel.socket \
	systemd-udevd-control.socket systemd-udev-trigger.service console-getty.service \
	getty.target systemd-networkd.service systemd-resolved.service \
	systemd-timesyncd.service systemd-logind.service e2scrub_all.timer \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer
`

// RootFS returns a Debian root file system with systemd, sshd, sudo, rsync, runc and
// the user docker.
func (c *Cache) RootFS(ctx context.Context) (string, error) {
	packages := strings.Join(nodePackages(), ",")
	return c.get(ctx, part{
		name: "rootfs", version: debianRelease, recipe: []string{"1", packages, setUpScript},
		duration: "about 40 s",
		build: func(ctx context.Context, w workspace) error {
			return w.runAll(ctx,
				command{argv: []string{"mmdebstrap", "--quiet", "--variant=minbase", "--include=" + packages, debianRelease, w.out}},
				command{argv: []string{"chroot", w.out, "sh", "-c", setUpScript}},
			)
		},
	})
}
