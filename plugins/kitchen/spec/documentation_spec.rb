# frozen_string_literal: true

RSpec.describe "docs/test-kitchen.md" do
  page = File.read(File.expand_path("../../../docs/test-kitchen.md", __dir__))
  sections = page.scan(/^#### `(\w+)`\n\n(.*?)(?=^##|\z)/m).to_h.transform_keys(&:to_sym)

  it "describes every option of the driver, and none that it has not" do
    expect(sections.keys).to match_array(Kitchen::Driver::Ovirt.defaults.keys)
  end

  it "says what an option means" do
    expect(sections.values).to all(match(/\w{3,}/))
  end

  it "shows nothing in its examples that is no option" do
    examples = page.scan(/^```yaml\n(.*?)^```/m).flatten.map { |text| YAML.safe_load(text.gsub(/<%=.*?%>/, "x")) }
    drivers = examples.flat_map do |example|
      [example["driver"], *(example["platforms"].to_a + example["suites"].to_a).map { |part| part["driver"] }, example]
    end
    given = drivers.compact.flat_map(&:keys).uniq - %w[name driver platforms suites provisioner verifier transport]
    expect(given.map(&:to_sym) - Kitchen::Driver::Ovirt.defaults.keys).to eq([])
  end

  it "shows examples that make a request" do
    page.scan(/^```yaml\n(.*?)^```/m).flatten.each do |text|
      example = YAML.safe_load(text.gsub(/<%=.*?%>/, "x"), symbolize_names: true)
      driver = make_driver((example[:driver] || example).except(:name, :transport, :platforms, :provisioner, :verifier, :suites))
      request = Kitchen::Driver::Ovirt::Request.new(driver)
      expect { request.create(engine: nil, key: "tk-k", public_key: nil) }.not_to raise_error
      expect { request.package(engine: nil, key: "k") }.not_to raise_error
    end
  end
end
