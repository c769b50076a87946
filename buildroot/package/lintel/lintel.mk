################################################################################
#
# lintel
#
################################################################################

# The tree that this folder is part of.
LINTEL_VERSION = local
LINTEL_SITE = $(BR2_EXTERNAL_LINTEL_PATH)/..
LINTEL_SITE_METHOD = local
LINTEL_LICENSE = Apache-2.0
LINTEL_LICENSE_FILES = LICENSE
# Gigabytes of other builds lie there.
LINTEL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude target

# Buildroot builds offline, and a local source has no vendored archive.
define LINTEL_VENDOR
	cd $(@D) && CARGO_HOME=$(HOST_DIR)/share/cargo \
		$(HOST_DIR)/bin/cargo vendor --locked VENDOR >>.cargo/config.toml
endef
LINTEL_PRE_CONFIGURE_HOOKS += LINTEL_VENDOR

LINTEL_CARGO_BUILD_OPTS = --package lintel --bin lintel --locked
LINTEL_CARGO_ENV = RUSTFLAGS="-C target-feature=+crt-static"

# PID 1 and the factory files; the rest of the skeleton stays empty.
define LINTEL_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/lintel \
		$(TARGET_DIR)/bin/lintel
	ln -sf bin/lintel $(TARGET_DIR)/init
	mkdir -p $(TARGET_DIR)/data $(TARGET_DIR)/etc/lintel
	cp -a $(@D)/rootfs-overlay/. $(TARGET_DIR)/
	$(INSTALL) -m 0644 $(@D)/board/$(call qstrip,$(BR2_PACKAGE_LINTEL_BOARD))/board.toml \
		$(TARGET_DIR)/etc/lintel/board.toml
endef

$(eval $(cargo-package))
