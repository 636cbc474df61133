# frozen_string_literal: true

require "did_you_mean"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # The options of a configuration that the driver does not have.
      class Options
        # What Kitchen itself puts into the configuration of every driver.
        KITCHENS = %i[name kitchen_root log_level test_base_path].freeze
        # Options of the driver of the same name that was there before, and what takes their place.
        PREDECESSORS = {
          engine_url: "set OVIRT_URL, or name an engine profile of the daemon by 'engine'",
          ovirt_username: "set OVIRT_USERNAME",
          ovirt_password: "set OVIRT_PASSWORD",
          datacenter: "name the 'cluster', which is in a data center",
          vm_username: "use 'username'",
          vm_password: "leave it out: the instance gets a key of its own",
          vm_description: "use 'description'",
          wait_after_up: "leave it out: create ends when the transport is ready",
          custom_script: "use 'cloud_config' or 'user_data'"
        }.merge(%i[vm_net_interface vm_net_address vm_net_netmask vm_net_gateway vm_net_ipver].to_h do |option|
          [option, "use 'nic_configurations', as in [{name: eth0, static_address: 192.0.2.2/24, gateway: 192.0.2.1}]"]
        end).freeze

        def initialize(driver)
          @known = driver.class.defaults.keys + KITCHENS
          @unknown = driver.config_keys - @known
        end

        # What is meant to be an option of the driver, and what to do about it.
        def misspelt
          @unknown.filter_map do |option|
            near = DidYouMean::SpellChecker.new(dictionary: @known).correct(option).first
            advice = PREDECESSORS[option] || ("did you mean '#{near}'?" if near)
            [option, "is no option of this driver; #{advice}"] if advice
          end.to_h
        end

        # What resembles nothing: perhaps of another driver, whose configuration stands in the same place.
        def foreign
          @unknown - misspelt.keys
        end
      end
    end
  end
end
