# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt do
  include_context "with a driver"

  it "speaks version 2 of Kitchen's driver interface and tells its own version" do
    expect(described_class.diagnose).to include(api_version: 2, version: Kitchen::Driver::OVIRT_VERSION)
  end

  it "loads no gRPC before it asks the daemon" do
    paths = $LOAD_PATH.map { |path| "-I#{path}" }
    script = 'require "kitchen"; require "kitchen/driver/ovirt"; print $LOADED_FEATURES.grep(/grpc|protobuf/).size'
    expect(Open3.capture2(RbConfig.ruby, *paths, "-rtime", "-e", script).first).to eq("0")
  end

  describe "configuration" do
    {
      pre_create_command: nil, engine: nil, template: "debian-12", template_id: nil, template_version: nil, full_clone: false,
      vm_name: nil, vm_name_prefix: nil, cluster: nil, cpus: nil, memory: nil, boot_disk: nil, boot_disk_size: nil, nics: nil,
      hostname: "web-debian-12", username: "kitchen", ssh_key: nil,
      nic_configurations: [{ name: "eth0", boot_protocol: "dhcp" }], dns_servers: nil, dns_search_domains: nil,
      guaranteed_memory: nil, instance_type: nil, template_disks: nil, disks: nil, attached_disks: nil, storage_domain: nil,
      bios_type: nil, tpm: nil, virtio_scsi: nil, virtio_scsi_multi_queues: nil, nic_multi_queues: nil, placement: nil,
      affinity_groups: nil, affinity_labels: nil, quota: nil, custom_properties: nil, tags: nil,
      operating_system: nil, vnc_console: nil, start_media: nil,
      time_zone: nil, ssh_password_authentication: nil, ignition: nil, sysprep: nil, files: nil, address_selection: nil,
      user_data: nil, cloud_config: nil, ttl: nil, timeouts: nil, on_failure: "destroy", package: {}
    }.each do |option, default|
      it "has #{default.inspect} as default of #{option}" do
        expect(driver[option]).to eq(default)
      end

      it "takes another #{option}" do
        next if option == :sysprep

        other = option == :ssh_key ? "/other" : "other"
        expect(driver(option => other)[option]).to eq(other)
      end
    end

    it "says in the engine whose the VM is" do
      whose = "#{Etc.getpwuid.name}@#{Socket.gethostname}:#{folder}"
      expect(driver[:description]).to eq("Test Kitchen instance web-debian-12 of #{whose}")
    end

    it "has no option that is not tested here" do
      tested = self.class.examples.filter_map { |example| example.description[/default of (\w+)\z/, 1]&.to_sym }
      expect(described_class.defaults.keys - [:description]).to match_array(tested)
    end

    it "needs no template but its id" do
      expect(driver(template_id: "x")[:template]).to be_nil
    end

    it "asks for a template when there is none" do
      expect do
        make_driver({ template: "" })
      end.to raise_error(Kitchen::UserError, /template\] cannot be blank.*template_id/)
    end

    it "expands the path of a key and takes the transport's" do
      transport = Support::Instances::Transport.new({ ssh_key: "/keys/mine" })
      expect(make_driver({ ssh_key: "keys/id" })[:ssh_key]).to eq(File.join(folder, "keys/id"))
      expect(make_driver({}, transport: transport)[:ssh_key]).to eq("/keys/mine")
    end

    it "is finalized without a trace" do
      driver
      expect(Dir.children(folder)).to contain_exactly("daemon.sock")
      expect(fake.asked).to be_empty
    end

    it "refuses an option that resembles one of its own" do
      expect { driver(cpu: 2).create(state) }.to raise_error(Kitchen::UserError, /cpu: .*did you mean 'cpus'\?/)
      expect(fake.requests(:CreateMachine)).to be_empty
    end

    it "tells of an option that resembles nothing, and leaves it alone" do
      driver(vagrant_box: "x").create(state)
      expect(console).to include("no option 'vagrant_box'")
    end

    it "shows nobody what may be secret" do
      expect(driver(user_data: "password: canary\n").diagnose.to_s).not_to include("canary")
      expect(driver.diagnose).to include(user_data: "(given)", cloud_config: nil, sysprep: nil, username: "kitchen")
    end

    it "knows every option that Kitchen sets by itself" do
      driver.create(state)
      expect(console).not_to include("no option")
    end
  end
end
