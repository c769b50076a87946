include $(sort $(wildcard $(BR2_EXTERNAL_LINTEL_PATH)/package/*/*.mk))
